"""Buffers are used again, never while anybody can still see what is in them, and change no result."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from tinygrad_cnn import Tensor, compile, manual_seed, nn, ops, optim
from tinygrad_cnn import functional as F
from tinygrad_cnn.kernels import memory
from tinygrad_cnn.models import MODELS
from tinygrad_cnn.plan.program import Program

SHAPE = (300, 300)  # 360 kB in float32: large


@pytest.fixture
def fresh_memory(monkeypatch):
    monkeypatch.setattr(memory, "enabled", False)


@pytest.fixture
def own_buffers(monkeypatch):
    """No buffers from other tests."""
    monkeypatch.setattr(memory, "_buffers", memory._Buffers())


def train(name, steps):
    manual_seed(0)
    random = np.random.default_rng(0)
    model = MODELS[name]()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        images, labels = random.random((16, 1, 28, 28), np.float32), random.integers(0, 10, 16)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        yield model.state_dict()


@pytest.mark.parametrize("name", ["simple", "lenet", "complex"])
def test_the_results_are_those_in_fresh_memory_to_the_bit(name, monkeypatch):
    (*_, reused) = train(name, 4)
    monkeypatch.setattr(memory, "enabled", False)
    (*_, fresh) = train(name, 4)
    for key, value in fresh.items():
        np.testing.assert_array_equal(reused[key], value, err_msg=key)


def test_a_step_like_the_one_before_makes_no_buffer():
    made = []
    for _ in train("complex", 5):
        made.append(memory._buffers.made)
    assert made[1] == made[-1]


@pytest.mark.parametrize(
    "name, held, in_all",
    # bytes for each image, held after the forward pass and of all buffers: as measured, and a tenth more
    [("simple", 60_000, 140_000), ("lenet", 85_000, 205_000), ("complex", 1_160_000, 1_800_000)],
)
def test_a_step_takes_no_more_memory_than_it_did(own_buffers, name, held, in_all):
    model, batch = MODELS[name](), 64
    images, labels = np.zeros((batch, 1, 28, 28), np.float32), np.zeros(batch, int)
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        idle = memory.idle_bytes()
        loss.backward()
    found_in_all = memory.idle_bytes() / batch
    found_held = found_in_all - idle / batch
    assert found_held < held and found_in_all < in_all, (found_held, found_in_all)


@pytest.mark.parametrize(
    "layer, forward, backward",
    # how often the images are written to memory, by results that are as large: each is one pass, and there is no clock
    [
        (nn.Conv2d(16, 16, 3, padding=1), 9.5, 5.7),  # columns of 3, rows of products of 3, their sum, padding and bias
        (nn.Conv2d(16, 16, 1), 2, 4),
        (nn.Conv2d(16, 16, 3, padding=1, groups=16), 2.5, 2.9),  # what some groups' windows see, products and bias
        (nn.BatchNorm2d(16), 3, 2),
        (nn.GroupNorm(4, 16), 3, 2),
        (nn.ReLU(), 1, 1),
        (nn.SiLU(), 2, 3),
        (nn.MaxPool2d(2), 0.75, 2.4),
        (nn.AvgPool2d(2), 0.25, 1),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_a_layer_writes_its_images_no_more_often_than_it_did(own_buffers, monkeypatch, layer, forward, backward):
    lent = []
    lend = memory._Buffers.lend
    monkeypatch.setattr(memory._Buffers, "lend", lambda self, *args: lent.append(args[-1]) or lend(self, *args))
    images = np.random.default_rng(0).random((32, 16, 32, 32), np.float32).transpose(3, 1, 0, 2)  # as inside a network
    x = Tensor(images, requires_grad=True)
    out = layer(x)
    written = sum(lent)
    out.backward(Tensor(np.ones(out.shape, np.float32)))
    assert written <= forward * images.nbytes and sum(lent) - written <= backward * images.nbytes


def test_switched_off_it_makes_none(fresh_memory):
    before = memory._buffers.made
    for _ in train("simple", 2):
        pass
    assert memory._buffers.made == before


def test_what_is_held_is_never_written_again():
    """Whatever holds on to a result (a view, a view of a view, a Tensor) keeps it."""
    random = np.random.default_rng(0)
    held = []
    for turn in range(200):
        x = Tensor(np.full(SHAPE, turn, np.float32))
        y = (x + 1).relu() * 2
        kind = random.integers(4)
        if kind == 0:
            held.append((turn, y))
        elif kind == 1:
            held.append((turn, y.numpy()[3:, ::2]))
        elif kind == 2:
            held.append((turn, y.numpy().T[5:].reshape(-1)[7:]))
        if len(held) > 20:
            del held[random.integers(len(held))]
        for kept_turn, kept in held:
            assert (np.asarray(kept) == 2 * (kept_turn + 1)).all()


def test_what_nobody_holds_is_used_again():
    first = memory.empty(SHAPE, np.float32)
    address = first.__array_interface__["data"][0]
    assert address % memory.LINE == 0
    view = first[1:].T
    del first
    assert memory.empty(SHAPE, np.float32).__array_interface__["data"][0] != address
    del view
    again = [memory.empty(SHAPE, np.float32) for _ in range(2)]
    assert address in [array.__array_interface__["data"][0] for array in again]


def test_memory_for_buffers_is_bounded_in_use_or_not(own_buffers, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 10_000_000)
    held = [memory.empty((n, n), np.float32) for n in range(500, 700)]  # each of about 1 to 2 MB
    assert 0 < memory._buffers.bytes <= 10_000_000
    del held
    assert 5_000_000 < memory.idle_bytes() <= 10_000_000
    memory.empty((1200, 1200), np.float32)  # for which there is none yet: others go
    assert 5_000_000 < memory.idle_bytes() <= 10_000_000


def test_a_result_that_is_kept_costs_the_same_however_many_are_kept(own_buffers, monkeypatch):
    monkeypatch.setattr(memory, "MOST", 1 << 40)
    looked_up = []

    class Counting(dict):
        def get(self, size):
            looked_up.append(size)
            return super().get(size)

    memory._buffers.idle = Counting()
    held = []
    for _ in range(2):
        looked_up.clear()
        held += [memory.empty((1, memory.LARGE), np.uint8) for _ in range(500)]
        assert len(looked_up) <= 500 * 8
    del held
    assert memory.idle_bytes() == 1000 * memory.LARGE


def test_an_interpreter_that_is_traced_gets_no_memory_in_use():
    """Debuggers hold on to local variables, and so change reference counts."""
    program = """
import sys
def look_at_locals(frame, event, argument):
    if frame.f_code.co_filename.endswith("memory.py"):  # Python 3.12.1 fails under this in modules with comprehensions
        frame.f_locals
    return look_at_locals
sys.settrace(look_at_locals)
from tinygrad_cnn.kernels import memory
sys.settrace(None)
first = memory.empty((300, 300), "f4")
first[...] = 1
second = memory.empty((300, 300), "f4")
second[...] = 2
assert (first == 1).all()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_threads_get_buffers_of_their_own():
    """Between seeing that a buffer is unused and taking it, another thread may run."""
    wrong = []

    def work(number):
        for _ in range(3000):
            mine = memory.empty((1, memory.LARGE), np.float32)
            mine[0, :4] = number
            sum(range(20))  # time for another thread to be given the same
            if not (mine[0, :4] == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_results_keep_the_order_of_axes_in_memory():
    images = np.zeros((8, 28, 28, 32), np.float32).transpose(0, 3, 1, 2)
    assert F.relu(images).strides == images.strides
    assert F.add(images, np.zeros((32, 1, 1), np.float32)).strides == images.strides


def test_a_batch_stays_side_by_side_in_memory_through_flatten_and_linear_and_back():
    """Else each of them would have to turn it around, number by number."""
    images = np.zeros((5, 6, 4, 7), np.float32).transpose(3, 1, 0, 2)  # (N, C, H, W), N closest together
    rows = F.flatten(images, 1)
    assert rows.strides == (4, 28)
    g = ops.matmul.rule(0)(np.zeros((7, 3), np.float32), None, rows, np.zeros((120, 3), np.float32))
    assert g.strides == rows.strides
    weight = np.zeros((3, 120), np.float32).T  # as linear passes it on
    g = ops.matmul.rule(1)(np.zeros((7, 3), np.float32), None, rows, weight)
    assert g.strides == weight.strides


@pytest.mark.parametrize("height, shared", [(28, True), (16, True), (12, False)])
def test_a_buffer_serves_results_down_to_half_its_size(own_buffers, height, shared):
    first = memory.empty((30, 400, 101), np.float32)
    address = first.__array_interface__["data"][0]
    del first
    assert (memory.empty((height, 400, 101), np.float32).__array_interface__["data"][0] == address) == shared


@pytest.mark.parametrize(
    "a, b",
    [
        (np.zeros(SHAPE, np.float32), np.zeros(SHAPE)),
        (np.zeros((1, 300), np.float32), np.zeros((300, 1), np.float32)),
        (np.zeros(SHAPE, np.int64), np.ones(SHAPE, np.int64)),
        (np.zeros(SHAPE, ">f4"), np.zeros(SHAPE, ">f4")),
        (np.zeros((0, 300), np.float32), np.zeros(300, np.float32)),
        (np.ones((100_000, 1), np.float32), np.ones((1, 3), np.float32)),
    ],
)
def test_shapes_and_dtypes_are_those_of_numpy(a, b):
    for ours, numpys in ((F.add, np.add), (F.maximum, np.maximum)):
        expected = numpys(a, b)
        result = ours(a, b)
        assert result.shape == expected.shape
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


def test_recording_leaves_no_memory_beside_the_plan(own_buffers, monkeypatch):
    waiting = []
    bind = Program.bind

    def watched(program):
        waiting.append(memory.idle_bytes())
        return bind(program)

    monkeypatch.setattr(Program, "bind", watched)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3))
    loss_of = compile(lambda x: (model(x) ** 2).mean())
    loss_of(np.ones((8, 3, 32, 32), np.float32))
    assert waiting == [0]  # before the plan has memory of its own, which is to be in the same place
    assert memory.idle_bytes() == 0  # nor is anything left of making it


def test_a_result_lies_in_memory_as_the_operand_that_is_not_stretched():
    images = np.ones((32, 16, 32, 8), np.float32).transpose(3, 1, 0, 2)  # as inside a network
    gradient = np.broadcast_to(np.float32(1), images.shape)
    of_one_image = np.broadcast_to(images[:1], images.shape)
    for operands in ((gradient, images), (images, gradient), (of_one_image, gradient)):
        assert memory.output_buffer(*operands).strides == images.strides
    x = Tensor(images, requires_grad=True)
    (x * x).mean().backward()
    assert x.grad._array.strides == images.strides
