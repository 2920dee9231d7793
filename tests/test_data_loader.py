"""Batches: what is in them, in which order, and how a run that is stopped continues."""

import numpy as np
import pytest

import tinygrad_cnn.utils.data as torch_data
from tinygrad_cnn import Tensor, manual_seed, nn, optim
from tinygrad_cnn.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split
from tinygrad_cnn.training import Trainer

IMAGES = np.arange(10, dtype=np.float32)
LABELS = np.arange(10) * 7


def batches(loader):
    return [[array.tolist() for array in batch] for batch in loader]


def first_arrays(loader):
    return [batch[0].tolist() for batch in loader]


def test_batches_in_order():
    loader = DataLoader((IMAGES, LABELS), 4)
    assert len(loader) == 3
    assert batches(loader) == [
        [[0, 1, 2, 3], [0, 7, 14, 21]],
        [[4, 5, 6, 7], [28, 35, 42, 49]],
        [[8, 9], [56, 63]],
    ]


@pytest.mark.parametrize("sampler", [[0.5, 1.7], np.arange(10) > 7])
def test_what_a_sampler_gives_are_integers(sampler):
    with pytest.raises(TypeError, match="DataLoader expects each index of sampler as an integer"):
        list(DataLoader((IMAGES,), 4, sampler=sampler))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0, 1.0], [[1.0]], []])
def test_weights_that_are_no_chances_are_refused(weights):
    with pytest.raises(ValueError, match="WeightedRandomSampler expects weights as numbers of at least 0"):
        torch_data.WeightedRandomSampler(weights, 3)


def test_drop_last_leaves_out_the_smaller_batch():
    loader = DataLoader((IMAGES,), 4, drop_last=True)
    assert len(loader) == 2
    assert first_arrays(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(DataLoader((IMAGES,), 5, drop_last=True)) == len(DataLoader((IMAGES,), 5)) == 2


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_processes_share_each_batch(ranks):
    """Whatever their number: the same batches, also with a transform that draws random numbers."""

    def noisy(images, rng):
        return images + rng.random(len(images))

    options = {"batch_size": 4, "shuffle": True, "seed": 3, "transform": noisy}
    whole = DataLoader((IMAGES, LABELS), **options)
    parts = [DataLoader((IMAGES, LABELS), **options, num_replicas=ranks, rank=rank) for rank in range(ranks)]
    for _ in range(2):
        for (images, labels), *shared in zip(whole, *parts, strict=True):
            for rank, (own_images, own_labels) in enumerate(shared):
                np.testing.assert_array_equal(own_images, images[rank::ranks])
                np.testing.assert_array_equal(own_labels, labels[rank::ranks])
        assert all(part.state_dict() == whole.state_dict() for part in parts)
    sizes = [len(labels) for _, labels in parts[-1]]
    assert sizes == [4 // ranks, 4 // ranks, 2 // ranks]  # of the last batch's 2 samples there may be none


def test_processes_share_the_samples_of_a_dataset():
    dataset = TensorDataset(Tensor(IMAGES), Tensor(LABELS))
    squares = [(float(i) ** 2, i) for i in range(8)]
    for samples in (dataset, squares):
        shared = [torch_data.DataLoader(Subset(samples, range(8)), 4, num_replicas=2, rank=rank) for rank in range(2)]
        for whole, *parts in zip(torch_data.DataLoader(Subset(samples, range(8)), 4), *shared, strict=True):
            for rank, part in enumerate(parts):
                np.testing.assert_array_equal(np.asarray(part[0]), np.asarray(whole[0])[rank::2])


@pytest.mark.parametrize(("count", "drop_last"), [(0, False), (3, True)])
def test_no_batch_at_all(count, drop_last):
    loader = DataLoader((IMAGES[:count],), 4, drop_last=drop_last)
    assert len(loader) == 0
    assert list(loader) == []
    state = loader.state_dict()
    loader.load_state_dict(state)
    assert list(loader) == []


def test_batches_are_copies():
    images = IMAGES.copy()
    for (batch,) in DataLoader((images,), 4):
        batch[:] = -1
    np.testing.assert_array_equal(images, IMAGES)


def test_the_order_is_the_documented_function_of_seed_and_epoch():
    loader = DataLoader((IMAGES, LABELS), 3, shuffle=True, seed=5)
    for epoch in range(3):
        order = np.random.default_rng([5, epoch]).permutation(10)
        drawn = list(loader)
        np.testing.assert_array_equal(np.concatenate([images for images, _ in drawn]), IMAGES[order])
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in drawn]), LABELS[order])


def test_the_generator_of_a_transform_is_a_function_of_seed_epoch_and_batch():
    def add_noise(images, rng):
        return images + rng.random(len(images))

    loader = DataLoader((IMAGES, LABELS), 4, seed=5, transform=add_noise)
    for epoch in range(2):
        for batch, (images, labels) in enumerate(loader):
            expected = np.random.default_rng([5, epoch, batch + 1]).random(len(images))
            np.testing.assert_array_equal(images, IMAGES[4 * batch : 4 * batch + 4] + expected)
            np.testing.assert_array_equal(labels, LABELS[4 * batch : 4 * batch + 4])


def test_the_state_is_the_position_after_the_batches_handed_out():
    loader = DataLoader((IMAGES,), 4)
    assert loader.state_dict() == {"epoch": 0, "batch": 0}
    states = [loader.state_dict() for _ in loader]
    assert states == [{"epoch": 0, "batch": 1}, {"epoch": 0, "batch": 2}, {"epoch": 1, "batch": 0}]


@pytest.mark.parametrize("stop_after", range(8))
def test_a_run_that_is_stopped_and_continued_sees_the_same_batches(stop_after):
    def new():
        def shift(images, rng):
            return images + rng.normal()

        return DataLoader((IMAGES, LABELS), 4, shuffle=True, seed=1, transform=shift)

    whole = [batch for loader in [new()] for _ in range(3) for batch in batches(loader)]

    stopped, seen = new(), []
    while len(seen) < stop_after:
        for batch in stopped:
            seen.append([array.tolist() for array in batch])
            if len(seen) == stop_after:
                break
    continued = new()
    continued.load_state_dict(stopped.state_dict())
    while len(seen) < len(whole):
        seen += batches(continued)
    assert seen == whole


def test_a_loop_that_is_broken_off_and_begun_again_is_a_new_epoch():
    loader, same = (DataLoader((IMAGES,), 3, shuffle=True) for _ in range(2))
    epochs = [first_arrays(same) for _ in range(4)]
    for _ in loader:
        break
    assert first_arrays(loader) == epochs[1]
    iter(loader)  # epoch 2, of which no batch is taken
    assert first_arrays(loader) == epochs[3]


def test_loading_a_state_forgets_a_loop_that_was_broken_off():
    loader = DataLoader((IMAGES,), 3)
    for _ in loader:
        break
    loader.load_state_dict({"epoch": 0, "batch": 2})
    assert first_arrays(loader) == [[6, 7, 8], [9]]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 0}, r"a dictionary with the keys epoch, batch, got \['epoch'\]"),
        ({"epoch": 0, "batch": 4}, "epoch 0, batch 4, but an epoch here has 4 batches"),
        ({"epoch": 0, "batch": -1}, "batch as an integer of at least 0, got -1"),
        ({"epoch": -1, "batch": 0}, "epoch as an integer of at least 0, got -1"),
    ],
)
def test_a_state_of_another_loader_is_refused(state, message):
    loader = DataLoader((IMAGES,), 3)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == {"epoch": 0, "batch": 0}


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((IMAGES, LABELS[:9]), {}, ValueError, r"same first length; their shapes are \[\(10,\), \(9,\)\]"),
        ((IMAGES, np.float32(1)), {}, ValueError, "same first length"),
        ((), {}, ValueError, "same first length"),
        (IMAGES, {}, TypeError, "tuple of arrays such as .images, labels., not ndarray"),
        ((IMAGES,), {"batch_size": 0}, ValueError, "batch_size as an integer of at least 1, got 0"),
        ((IMAGES,), {"seed": -1}, ValueError, "seed as an integer of at least 0, got -1"),
        ((IMAGES,), {"batch_size": 4, "num_replicas": 2, "rank": 2}, ValueError, "below num_replicas=2, got 2"),
        ((IMAGES,), {"batch_size": 2, "num_replicas": 3}, ValueError, "batch_size of 2 leaves no sample for some of 3"),
        (
            Subset(TensorDataset(IMAGES), range(9)) + TensorDataset(IMAGES[:0]),
            {"batch_size": 4, "num_replicas": 2},
            ValueError,
            "last batch has 1 samples for 2 processes.*drop_last=True",
        ),
    ],
)
def test_wrong_arguments_are_refused(arrays, options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(arrays, **options)


# ---- samples of a dataset


class Pairs:
    """A dataset as people write it, without any base class."""

    def __init__(self, count=10):
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        return np.full((1, 2, 2), index, np.float32), index * 7


def test_samples_are_stacked_part_by_part():
    for loader, kind in ((DataLoader(Pairs(), 4), np.ndarray), (torch_data.DataLoader(Pairs(), 4), Tensor)):
        found = list(loader)
        assert {type(part) for batch in found for part in batch} == {kind}
        assert [[tuple(part.shape) for part in batch] for batch in found] == [[(4, 1, 2, 2), (4,)]] * 2 + [
            [(2, 1, 2, 2), (2,)]
        ]
        assert [label for _, labels in found for label in labels.tolist()] == LABELS.tolist()
        assert found[0][0].dtype == np.float32 and found[0][1].dtype == np.int64
        assert len(loader.dataset) == 10 and loader.batch_size == 4 and loader.drop_last is False


def test_samples_come_in_the_order_of_arrays():
    dataset = Pairs()
    loader = DataLoader(dataset, 3, shuffle=True, seed=5, drop_last=True)
    same = DataLoader((LABELS,), 3, shuffle=True, seed=5, drop_last=True)
    for _ in range(2):
        assert [labels.tolist() for _, labels in loader] == first_arrays(same)
    assert set(map(type, dataset.asked)) == {int} and len(dataset.asked) == 18
    next(iter(loader))
    fresh = DataLoader(Pairs(), 3, shuffle=True, seed=5, drop_last=True)
    fresh.load_state_dict(loader.state_dict())
    assert [labels.tolist() for _, labels in fresh] == first_arrays(same)[1:]


def test_what_a_sample_may_be():
    rows = [{"x": 1.5, "name": "a", "pair": (True, [2])}, {"x": 2.5, "name": "b", "pair": (False, [3])}]

    class Rows(torch_data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return rows[index]

    (batch,) = torch_data.DataLoader(Rows(), 2)
    assert batch["x"].tolist() == [1.5, 2.5] and batch["x"].dtype == np.float64 and batch["name"] == ["a", "b"]
    assert batch["pair"][0].tolist() == [True, False] and batch["pair"][1][0].tolist() == [2, 3]
    assert len(Rows() + Rows()) == 4


def test_collate_fn_puts_a_batch_together():
    def joined(batch):
        assert type(batch) is list
        return np.concatenate([images for images, _ in batch]), len(batch)

    assert [(images.shape, count) for images, count in DataLoader(Pairs(), 4, collate_fn=joined)] == [
        ((4, 2, 2), 4),
        ((4, 2, 2), 4),
        ((2, 2, 2), 2),
    ]
    pairs = TensorDataset(IMAGES, LABELS)
    assert next(iter(DataLoader(pairs, 2, collate_fn=list))) == [(0, 0), (1, 7)]


@pytest.mark.parametrize("kind", [Tensor, np.asarray])
def test_datasets_of_tensors(kind):
    dataset = TensorDataset(kind(IMAGES), kind(LABELS))
    assert len(dataset) == 10 and [float(part) for part in dataset[3]] == [3, 21]
    parts = random_split(dataset, [7, 3])
    whole = ConcatDataset([*parts, Pairs(0)])
    assert sorted(float(whole[i][0]) for i in range(10)) == IMAGES.tolist()
    for one in (dataset, Subset(dataset, [4, 2, -1]), parts[0], Subset(parts[0], range(2))):
        quick, slow = (
            torch_data.DataLoader(one, 4),
            torch_data.DataLoader(one, 4, collate_fn=torch_data.default_collate),
        )
        for batch, other in zip(quick, slow, strict=True):  # cut from the arrays, or stacked sample by sample
            assert [type(part) for part in batch] == [type(part) for part in other] == [Tensor, Tensor]
            for part, same in zip(batch, other, strict=True):
                np.testing.assert_array_equal(part.numpy(), same.numpy())
                assert part.dtype == same.dtype


def test_batches_of_a_dataset_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    theirs = torch.utils.data.DataLoader(Pairs(), batch_size=4, drop_last=True)
    for mine, other in zip(torch_data.DataLoader(Pairs(), batch_size=4, drop_last=True), theirs, strict=True):
        assert type(mine) is type(other) is list
        for part, same in zip(mine, other, strict=True):
            np.testing.assert_array_equal(part.numpy(), same.numpy())
            assert part.numpy().dtype == same.numpy().dtype


@pytest.mark.parametrize("lengths", [[7, 3], [0.5, 0.25, 0.25], [0.3, 0.7], [1.0], [10, 0], [0.45, 0.55]])
def test_a_split_deals_out_each_sample_once(lengths):
    parts = random_split(Pairs(), lengths)
    assert sorted(index for part in parts for index in part.indices) == list(range(10))
    again = random_split(Pairs(), lengths)
    assert [part.indices for part in parts] == [part.indices for part in again]
    other = random_split(Pairs(), lengths, generator=np.random.default_rng(1))
    assert [part.indices for part in parts] != [part.indices for part in other]
    assert list(map(len, other)) == list(map(len, parts))
    torch = pytest.importorskip("torch")
    assert list(map(len, parts)) == list(map(len, torch.utils.data.random_split(Pairs(), lengths)))


def test_a_trainer_takes_datasets():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)).astype(np.float32), rng.integers(0, 2, 20)
    losses = []
    for loader in (DataLoader((x, y), 4), torch_data.DataLoader(TensorDataset(Tensor(x), Tensor(y)), 4)):
        model = nn.Linear(3, 2)
        model.weight.data, model.bias.data = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
        losses.append(list(Trainer(model, optim.SGD(model.parameters(), lr=0.1), loader).epoch()))
    assert losses[0] == losses[1] and losses[0][0].images == 4


def test_a_script_for_pytorch_runs_with_other_imports():
    program = """
import tinygrad_cnn as torch
import tinygrad_cnn.nn as nn
import tinygrad_cnn.optim as optim
from tinygrad_cnn.optim.lr_scheduler import StepLR
from tinygrad_cnn.utils.data import DataLoader, Dataset, TensorDataset, random_split

class Points(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.Tensor([index / 40, 1.0]), int(index >= 20)

torch.manual_seed(1)
train, test = random_split(Points(), [30, 10])
model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adadelta(model.parameters(), lr=1.0)
scheduler = StepLR(optimizer, step_size=1, gamma=0.98)
for epoch in range(100):
    for data, target in torch.utils.data.DataLoader(train, batch_size=8, shuffle=True, num_workers=2, pin_memory=True):
        optimizer.zero_grad()
        loss = criterion(model(data), target)
        loss.backward()
        optimizer.step()
    scheduler.step()
hits = [(model(data).argmax(1).numpy() == target.numpy()).sum() for data, target in DataLoader(test, batch_size=5)]
assert sum(hits) >= 9, hits
"""
    exec(program, {"__name__": "script"})


def test_arguments_of_pytorch_that_change_no_batch_are_ignored():
    loader = torch_data.DataLoader(Pairs(), batch_size=5, num_workers=4, pin_memory=True, timeout=0, sampler=None)
    assert len(list(loader)) == 2


def test_a_sampler_gives_the_order():
    data = torch_data.TensorDataset(np.arange(10))
    even = torch_data.SubsetRandomSampler(range(0, 10, 2))
    manual_seed(0)
    loader = torch_data.DataLoader(data, batch_size=2, sampler=even)
    epochs = [[x for (batch,) in loader for x in batch.tolist()] for _ in range(2)]
    assert len(loader) == 3 and sorted(epochs[0]) == sorted(epochs[1]) == [0, 2, 4, 6, 8] and epochs[0] != epochs[1]
    one = torch_data.DataLoader(data, sampler=torch_data.WeightedRandomSampler(np.arange(10) == 7, 4))
    assert [batch.item() for (batch,) in one] == [7] * 4
    assert sorted(torch_data.RandomSampler(data)) == list(torch_data.SequentialSampler(data)) == list(range(10))
    with pytest.raises(ValueError, match="a sampler or shuffle, not both"):
        DataLoader(data, sampler=even, shuffle=True)
    seeds = [torch_data.DataLoader(data, 10, True, generator=np.random.default_rng(i)) for i in (1, 1, 2)]
    first, same, other = (next(iter(one))[0].tolist() for one in seeds)
    assert first == same != other


class Ragged(Pairs):
    def __getitem__(self, index):
        return np.zeros(index)


REFUSED = {
    "sampler": (lambda: DataLoader(Pairs(), sampler=3), "DataLoader expects sampler as an Iterable, got 3"),
    "batch sampler": (lambda: DataLoader(Pairs(), batch_sampler=[[1]]), "no argument batch_sampler: pass batch_size"),
    "generator": (lambda: DataLoader(Pairs(), generator=5), "has no argument generator: pass seed="),
    "unknown": (lambda: DataLoader(Pairs(), shufle=True), "DataLoader has no argument shufle: leave it out"),
    "a generator": (
        lambda: DataLoader(iter(Pairs())),
        "dataset as an object with __len__ and __getitem__, got iterator",
    ),
    "a Tensor": (lambda: DataLoader(Tensor(IMAGES)), "not Tensor; or a Dataset, as TensorDataset"),
    "collate_fn": (lambda: DataLoader(Pairs(), collate_fn="x"), "collate_fn as a Callable, got 'x'"),
    "transform": (lambda: DataLoader(Pairs(), transform=lambda images, rng: images), "let __getitem__ of the Dataset"),
    "ragged": (
        lambda: list(DataLoader(Ragged(3), 3)),
        r"can be stacked, got shapes \[\(0,\), \(1,\), \(2,\)\]: .* collate_fn",
    ),
    "lengths": (lambda: random_split(Pairs(), [7, 4]), r"lengths as integers with the sum 10, .* got \[7, 4\]"),
    "tensors": (lambda: TensorDataset(IMAGES, LABELS[:3]), "arrays need the same first length"),
    "no tensors": (lambda: TensorDataset(), "arrays need the same first length"),
    "indices": (lambda: Subset(Pairs(), [3, 10]), "Subset expects indices into 10 samples, got 10"),
    "index": (lambda: Subset(Pairs(), [1.5]), "each of the indices as an integer, got 1.5"),
    "no datasets": (lambda: ConcatDataset([]), "at least one dataset"),
    "no dataset": (lambda: ConcatDataset([5]), "ConcatDataset expects dataset as an object with"),
    "sample": (lambda: ConcatDataset([Pairs()])[10], "there is no sample 10: there are 10"),
    "length": (lambda: len(torch_data.Dataset()), "define __len__"),
    "samples": (lambda: torch_data.Dataset()[0], "define __getitem__"),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_dataset_is_refused(act, message):
    with pytest.raises((TypeError, ValueError, IndexError, NotImplementedError), match=message):
        act()


def test_a_list_is_a_dataset_of_its_samples():
    batches = [[part.tolist() for part in batch] for batch in DataLoader([(1, 10), (2, 20), (3, 30)], batch_size=2)]
    assert batches == [[[1, 2], [10, 20]], [[3], [30]]]
    assert [batch.tolist() for batch in DataLoader(list(range(5)), batch_size=2)] == [[0, 1], [2, 3], [4]]
    with pytest.raises(TypeError, match=r"samples of as many parts each, got \[1, 2\]"):
        next(iter(DataLoader([(1, 2), (3,)], batch_size=2)))


class Says:
    """A sampler that gives another number of indices than it says."""

    def __init__(self, says, gives):
        self.says, self.gives = says, gives

    def __len__(self):
        return self.says

    def __iter__(self):
        return iter(range(self.gives))


@pytest.mark.parametrize(("says", "gives"), [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_all_that_a_sampler_gives_is_handed_out(says, gives, drop_last):
    loader = DataLoader((np.arange(6),), batch_size=2, sampler=Says(says, gives), drop_last=drop_last)
    for _ in range(2):
        found = [index for (batch,) in loader for index in batch.tolist()]
        assert found == [*range(gives - gives % 2 if drop_last else gives)]
        assert loader.state_dict()["batch"] == 0
