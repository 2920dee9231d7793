"""Runs that are stopped and continued, summaries and reports."""

import io
import itertools

import numpy as np
import pytest
from rich.console import Console

from tinygrad_cnn import Tensor, data, manual_seed, nn, optim, summary
from tinygrad_cnn import functional as F
from tinygrad_cnn.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_cnn.commands.curve import HEIGHT, LossCurve
from tinygrad_cnn.commands.progress import RunningAverage
from tinygrad_cnn.commands.report import confusion_table, drawing, first_filters, worst_mistakes
from tinygrad_cnn.data.catalog import FASHION
from tinygrad_cnn.models import MODELS
from tinygrad_cnn.optim.swa_utils import AveragedModel, get_ema_avg_fn
from tinygrad_cnn.random import get_rng_state
from tinygrad_cnn.training import Step, Trainer, predict

OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=0.01),
}


def make_trainer(optimizer):
    """A small run with everything in it that has a state: dropout, batch norm, momentum, shuffling, augmentation."""
    random = np.random.default_rng(3)
    images = random.random((50, 1, 8, 8), np.float32)
    labels = random.integers(0, 3, 50)
    manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 3)
    )
    chosen = OPTIMIZERS[optimizer](model.parameters())
    loader = data.DataLoader((images, labels), batch_size=16, shuffle=True, seed=5, transform=data.augment)
    average = AveragedModel(model, avg_fn=get_ema_avg_fn(0.8), use_buffers=True)
    return Trainer(model, chosen, loader, optim.lr_scheduler.StepLR(chosen, 4, 0.7), averaged=average)


def train_until(trainer, epochs):
    while trainer.epochs_done < epochs:
        for _ in trainer.epoch():
            pass


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 4, 6])
def test_a_stopped_run_continues_to_the_same_bits(tmp_path, optimizer, steps):
    whole = make_trainer(optimizer)
    train_until(whole, 3)

    stopped = make_trainer(optimizer)
    taken = 0
    while taken < steps:
        for _ in stopped.epoch():
            taken += 1
            if taken == steps:
                break
    save_checkpoint(tmp_path / "run.npz", stopped.state_dict())
    continued = make_trainer(optimizer)
    manual_seed(99)  # another state of the random numbers, as in a new process
    continued.load_state_dict(load_checkpoint(tmp_path / "run.npz"))
    train_until(continued, 3)

    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(continued.model.state_dict()[name], value, err_msg=name)
    for name, value in whole.averaged.state_dict().items():
        np.testing.assert_array_equal(continued.averaged.state_dict()[name], value, err_msg=name)
    assert continued.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]


def test_the_schedule_goes_on_and_the_weights_are_averaged_after_each_step():
    trainer = make_trainer("sgd")
    by_hand = AveragedModel(trainer.model, avg_fn=get_ema_avg_fn(0.8), use_buffers=True)
    rates = []
    for _ in trainer.epoch():
        by_hand.update_parameters(trainer.model)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.05, 0.05, 0.05, 0.05 * 0.7])
    for name, value in by_hand.state_dict().items():
        np.testing.assert_array_equal(trainer.averaged.state_dict()[name], value, err_msg=name)


def changed(path, value):
    """A change of what stands at the path in the state, or its removal."""

    def change(state):
        *above, last = path.split("/")
        for key in above:
            state = state[int(key) if isinstance(state, list) else key]
        if value is REMOVED:
            del state[last]
        else:
            state[last] = value

    return change


REMOVED = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("averaged", None, "of a run without averaged=, unlike this one"),
        ("schedule", None, "of a run without schedule=, unlike this one"),
        ("model", None, "of a run without model=, unlike this one"),
        *((name, REMOVED, f"of a run without {name}=") for name in ("model", "random", "loader", "averaged")),
        *((f"{name}", 3, f"the {name} of") for name in ("model", "optimizer", "averaged", "random")),
        *((f"{name}", {}, f"the {name} of") for name in ("model", "optimizer", "schedule", "averaged", "random")),
        ("schedule/last_epoch", 1, "the schedule of the state does not fit: it has advanced 1 times in 6 steps"),
        ("schedule/base_lrs", ["x"], "the schedule of"),
        ("schedule/base_lrs", [], "the schedule of"),
        ("model/0.weight", REMOVED, "missing: 0.weight"),
        ("model/0.weight", np.array("text"), "0.weight"),
        ("model/1.num_batches_tracked", np.array(1.5), "num_batches_tracked has dtype float64, expected int64"),
        ("optimizer/param_groups", REMOVED, "the optimizer of .*param_groups"),
        ("optimizer/param_groups/0/lr", "x", "the optimizer of"),
        ("optimizer/param_groups/0/lr", REMOVED, "the optimizer of"),
        ("optimizer/state/7", {}, "the optimizer of"),
        ("optimizer/state/0", 3, "the optimizer of"),
        ("averaged/n_averaged", np.array([1, 2]), "the averaged of"),
        ("loader/epoch", "x", "the schedule of"),
        ("loader/batch", REMOVED, "the schedule of"),
        ("loader/more", 1, "the loader of"),
        ("random/bit_generator", "MT19937", "the random of"),
        ("random/state/inc", "x", "the random of"),
        ("random/uinteger", REMOVED, "the random of"),
    ],
)
def test_states_that_do_not_fit_change_nothing_bit_by_bit(tmp_path, path, value, message):
    trainer = make_trainer("sgd")
    train_until(trainer, 1)
    for _ in range(2):
        next(trainer.epoch())
    save_checkpoint(tmp_path / "run.npz", trainer.state_dict())
    state = load_checkpoint(tmp_path / "run.npz")
    state["optimizer"]["param_groups"][0]["foreign"] = 1
    changed(path, value)(state)

    fresh = make_trainer("sgd")
    next(fresh.epoch())
    fresh.model[0].weight.requires_grad = False
    fresh.optimizer.param_groups[0]["lr"] = 0.125  # by hand
    next(iter(fresh.loader))  # broken off: the next iteration begins an epoch
    before = everything(fresh)
    with pytest.raises(ValueError, match=message):
        fresh.load_state_dict(state)
    assert everything(fresh) == before
    assert len(list(fresh.loader)) == 4


def everything(trainer):
    """Whatever could have been changed, as bytes and text."""
    tensors = [*trainer.model._state().items(), *trainer.averaged._state().items()]
    arrays = [(name, value.numpy().dtype, value.numpy().tobytes(), value.requires_grad) for name, value in tensors]
    buffers = [
        (id(tensor), name, value.dtype, value.tobytes())
        for tensor, values in trainer.optimizer.state.items()
        for name, value in values.items()
    ]
    groups = [{**group, "params": list(map(id, group["params"]))} for group in trainer.optimizer.param_groups]
    schedule = (trainer.schedule.last_epoch, trainer.schedule.base_lrs)
    return repr((arrays, buffers, groups, schedule, trainer.loader.state_dict(), get_rng_state()))


@pytest.mark.parametrize("state", [None, [], 3, "text"])
def test_what_is_no_state_at_all_is_refused(state):
    with pytest.raises(ValueError, match="the state of a run is a dictionary, got "):
        make_trainer("adamw").load_state_dict(state)


def test_a_run_without_a_schedule_takes_no_state_of_one_that_has():
    trainer = make_trainer("sgd")
    plain = Trainer(trainer.model, trainer.optimizer, trainer.loader)
    with pytest.raises(ValueError, match="of a run with schedule=, unlike this one"):
        plain.load_state_dict(trainer.state_dict())


def test_steps_report_loss_and_hits_before_the_update():
    trainer = make_trainer("sgd")
    steps = list(trainer.epoch())
    assert [step.images for step in steps] == [16, 16, 16, 2]
    assert all(0 <= step.correct <= step.images and np.isfinite(step.loss) for step in steps)
    assert trainer.epochs_done == 1


def test_predict_gives_probabilities_and_restores_the_mode():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))
    model[1].eval()
    images = np.random.default_rng(0).random((7, 1, 2, 2), np.float32)
    probabilities = predict(model, images, batch_size=3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities, predict(model, images, batch_size=3))
    np.testing.assert_allclose(probabilities, predict(model, images), rtol=1e-6)
    assert model.training and not model[1].training and model[2].training


@pytest.mark.parametrize(
    "name, parameters, multiply_adds",
    [
        ("flat", 79_510, 784 * 100 + 100 * 10),
        ("simple", 15_770, 28 * 28 * 9 * 8 + 1568 * 10),
        ("lenet", 61_706, 28 * 28 * 25 * 6 + 10 * 10 * 150 * 16 + 400 * 120 + 120 * 84 + 84 * 10),
        (
            "complex",
            467_818,
            28 * 28 * 9 * (32 + 32 * 32) + 14 * 14 * 9 * (32 * 64 + 64 * 64) + 3136 * 128 + 128 * 10,
        ),
    ],
)
def test_summary_of_the_models(name, parameters, multiply_adds):
    model = MODELS[name]()
    layers = summary(model, (1, 28, 28))
    assert sum(layer.parameters for layer in layers) == parameters == sum(p.numel() for p in model.parameters())
    assert sum(layer.multiply_adds for layer in layers) == multiply_adds
    assert layers[-1].output_shape == (10,)
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert model(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)


def test_summary_leaves_the_model_as_it_was_when_the_model_fails():
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match="5 features"):
        summary(model, (1, 2, 2))
    assert "forward" not in vars(model[0])
    assert model.training


def test_summary_counts_matrix_products_of_a_layer_of_ones_own():
    class Bilinear(nn.Module):
        def __init__(self):
            self.left, self.right = nn.Parameter(np.ones((3, 4))), nn.Parameter(np.ones((4, 5)))

        def forward(self, x):
            return F.matmul(F.matmul(x, self.left), self.right)

    (layer,) = summary(Bilinear(), (3,))
    assert (layer.kind, layer.output_shape, layer.parameters, layer.multiply_adds) == ("Bilinear", (5,), 32, 12 + 20)


def test_summary_counts_a_convolution_as_papers_do_however_it_is_computed():
    layers = summary(nn.Sequential(nn.Conv2d(128, 128, 3, padding=1)), (128, 7, 7))
    assert layers[0].multiply_adds == 128 * 128 * 9 * 49


def printed(renderable, width=100):
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_summary_table():
    text = printed(summary(MODELS["lenet"](), (1, 28, 28)))
    assert "16 × 10 × 10" in text
    assert "61,706" in text
    assert "416,520" in text


def test_confusion_table():
    text = printed(confusion_table(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), ("cat", "dog")))
    rows = [line.split() for line in text.splitlines() if "%" in line]
    assert rows == [["0", "cat", "1", "1", "50.0%"], ["1", "dog", "1", "2", "66.7%"]]


def test_confusion_table_of_fashion_fits_80_columns():
    labels = np.repeat(np.arange(10), 1000)
    guesses = np.where(np.arange(10_000) % 7 == 0, labels[::-1], labels)
    text = printed(confusion_table(labels, guesses, FASHION.classes), width=80)
    assert "9 Ankle boot" in text and "0 T-shirt/top" in text and "…" not in text


def test_confusion_table_of_a_class_without_examples():
    assert "nan%" in printed(confusion_table(np.array([0]), np.array([0]), ("cat", "dog")))


def test_worst_mistakes_are_those_made_with_most_confidence():
    images = np.zeros((4, 1, 4, 4))
    images[:, :, 1, 1] = 1
    probabilities = np.array([[0.1, 0.9], [0.4, 0.6], [0.9, 0.1], [0.05, 0.95]])
    text = printed(worst_mistakes(images, np.array([0, 0, 0, 1]), probabilities, ("cat", "dog")), width=80)
    assert text.index("#0: cat") < text.index("#1: cat")
    assert "cat → dog" in text
    assert "#2" not in text
    assert "#3" not in text


def test_drawing():
    ring = np.zeros((5, 5))
    ring[1:4, 1:4] = 1
    ring[2, 2] = 0
    assert drawing(ring) == " █▀█\n ▀▀▀"
    assert drawing(np.zeros((4, 4))) == ""
    assert drawing(ring * 0.01) == drawing(ring)


def test_training_a_tensor_batch_works_as_an_array_batch_does():
    manual_seed(0)
    model = MODELS["simple"]()
    images = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    np.testing.assert_array_equal(model(images).numpy(), model(Tensor(images)).numpy())


def test_an_epoch_that_was_left_goes_on_in_the_same_process():
    whole = make_trainer("sgd")
    train_until(whole, 1)
    left = make_trainer("sgd")
    for trainer_step in left.epoch():
        del trainer_step
        break
    assert len(list(left.epoch())) == 3
    assert left.epochs_done == 1
    np.testing.assert_array_equal(left.model[0].weight, whole.model[0].weight)


def test_summary_of_parameters_beside_children_of_two_inputs_and_of_a_layer_that_is_used_twice():
    class Join(nn.Module):
        def forward(self, a, b):
            return a + b

    class Model(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(np.ones((3, 3)))
            self.layer, self.join = nn.Linear(3, 3), Join()

        def forward(self, x):
            return self.join(self.layer(self.layer(x)), F.matmul(x, self.scale))

    layers = summary(Model(), (3,))
    assert [layer.kind for layer in layers] == ["Linear", "Linear", "Join", "Model"]
    assert [layer.parameters for layer in layers] == [12, 0, 0, 9]
    assert [layer.multiply_adds for layer in layers] == [9, 9, 0, 9]


# ---- the curve of the loss


def heights(curve, width):
    """The height of each column of the drawing, in eighths of a line."""
    lines = [line.ljust(width)[10:] for line in curve.lines(width)][:HEIGHT]
    return [sum(" ▁▂▃▄▅▆▇█".index(line[column]) for line in lines) for column in range(width - 10)]


def test_the_curve_falls_evenly_when_the_loss_falls_by_a_constant_factor():
    curve = LossCurve(steps=10)
    curve.losses += [2.0**-i for i in range(10)]
    found = heights(curve, 80)[:10]
    assert found[0] == 8 * HEIGHT and found[-1] == 1
    assert {round(a - b) for a, b in itertools.pairwise(found)} <= {5, 6}


def test_a_column_is_the_mean_of_its_steps_and_the_rest_is_still_to_come():
    curve = LossCurve(steps=300)
    curve.losses += 50 * [3.0, 1.0, 2.0]  # half of the steps: two for one column, one for the next
    found = heights(curve, 210)
    assert found == 100 * [1] + 100 * [0]
    lines = list(curve.lines(80))
    assert max(map(len, lines)) <= 80 and lines[-1].strip() == "loss, 150 of 300 steps"


def test_a_curve_with_infinities_or_nothing():
    curve = LossCurve(steps=4)
    assert list(curve.lines(80)) == []
    curve.losses += [np.nan]
    assert list(curve.lines(80)) == []
    curve.losses += [1.0, np.inf, 0.0]
    assert heights(curve, 80)[:4] == [0, 8 * HEIGHT, 0, 1]
    curve.losses[:] = [2.0, 1.0]
    assert list(curve.lines(5))[-1].strip() == "loss, 2 of 4 steps"  # in a window without room for a column


def test_a_process_may_have_had_no_image_yet():
    average = RunningAverage()
    assert average.add(Step(0.0, 0, 0)).quality == "loss 0.0000, accuracy 0.00%"
    assert average.add(Step(0.5, 3, 4)).quality == "loss 0.5000, accuracy 75.00%"


def test_the_filters_of_the_first_convolution():
    model = nn.Sequential(nn.Conv2d(2, 3, (1, 2)), nn.ReLU(), nn.Conv2d(3, 1, 1))
    model[0].weight.data = np.array([[[[1, -1]], [[1, 0]]], [[[0, 2]], [[0, 1]]], [[[0, 0]], [[0, 0]]]], np.float32)
    text = printed(first_filters(model), width=24)  # the means over the channels: (1, -1/2), (0, 3/2), (0, 0)
    assert "all 3" in text
    assert [line.split() for line in text.splitlines() if "▒" in line] == [["██░░", "▒▒██"], ["▒▒▒▒"]]
    assert first_filters(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None
