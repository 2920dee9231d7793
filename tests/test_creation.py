"""What is at the top of the package under PyTorch's names: new Tensors, dtypes, the device, files."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn
import tinygrad_cnn as torch
import tinygrad_cnn.nn as nn
import tinygrad_cnn.nn.functional
import tinygrad_cnn.nn.functional as F
import tinygrad_cnn.optim as optim
from tinygrad_cnn import Tensor, functional
from tinygrad_cnn.checkpoint import CheckpointError
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.utils import clip_grad_norm_
from tinygrad_cnn.utils.torch_names import MODULES


def test_what_pytorchs_imports_name_is_there():
    assert F.relu is functional.relu and set(functional.__all__) <= set(vars(F))
    assert torch.nn is nn and torch.optim is optim and nn.init is init and nn.utils.clip_grad_norm_ is clip_grad_norm_
    assert torch.cat is functional.cat and torch.zeros_like(torch.ones(2)).tolist() == [0, 0]
    for name in dir(torch):
        getattr(torch, name)
    with pytest.raises(AttributeError, match="has no attribute 'hspmm'"):
        torch.hspmm  # noqa: B018
    assert tinygrad_cnn.nn.functional.conv2d is functional.conv2d


@pytest.mark.parametrize(
    "module",
    [
        *("nn", "nn.utils", "nn.init", "nn.functional", "utils.data", "cuda", "optim", "optim.lr_scheduler"),
        *("autograd", "functional"),
    ],
)
def test_a_name_that_a_module_of_pytorchs_has_not_is_named_with_what_there_is(module):
    with pytest.raises(AttributeError, match=r"has no attribute 'weird': .*names what there is"):
        importlib.import_module(f"tinygrad_cnn.{module}").weird  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'clip_grad_norm': is it clip_grad_norm_\?"):
        nn.utils.clip_grad_norm  # noqa: B018


@pytest.mark.parametrize(
    ("made", "values", "dtype"),
    [
        (lambda: torch.tensor([[1, 2]]), [[1, 2]], np.int64),
        (lambda: torch.tensor([1, 2.5]), [1, 2.5], np.float32),
        (lambda: torch.tensor(True), True, np.bool_),
        (lambda: torch.tensor(np.ones(1)), [1], np.float64),
        (lambda: torch.tensor([1], dtype=torch.float), [1], np.float32),
        (lambda: torch.tensor(Tensor([1.0], requires_grad=True)), [1], np.float32),
        (lambda: torch.as_tensor(np.ones(1), dtype=torch.float32), [1], np.float32),
        (lambda: torch.zeros(2, 1), [[0], [0]], np.float32),
        (lambda: torch.zeros((2, 1), dtype=torch.long), [[0], [0]], np.int64),
        (lambda: torch.ones([2]), [1, 1], np.float32),
        (lambda: torch.ones(()), 1, np.float32),
        (lambda: torch.ones_like(torch.arange(2)), [1, 1], np.int64),
        (lambda: torch.zeros_like(np.ones(2)), [0, 0], np.float64),
        (lambda: torch.full((2,), 2), [2, 2], np.int64),
        (lambda: torch.full((2,), 0.5), [0.5, 0.5], np.float32),
        (lambda: torch.full_like(torch.ones(1), 2), [2], np.float32),
        (lambda: torch.arange(3), [0, 1, 2], np.int64),
        (lambda: torch.arange(1, 7, 2), [1, 3, 5], np.int64),
        (lambda: torch.arange(0.0, 1.0, 0.25), [0, 0.25, 0.5, 0.75], np.float32),
        (lambda: torch.arange(2, dtype=torch.float64), [0, 1], np.float64),
        (lambda: torch.arange(np.float32(2.5)), [0, 1, 2], np.float32),
        (lambda: torch.tensor([0.1], dtype=torch.float64), [0.1], np.float64),
        (lambda: torch.full((1,), 0.1, dtype=torch.float64), [0.1], np.float64),
        (lambda: torch.arange(0.1, 0.2, dtype=torch.float64), [0.1], np.float64),
        (lambda: torch.linspace(0, 1, 5), [0, 0.25, 0.5, 0.75, 1], np.float32),
        (lambda: torch.eye(2), [[1, 0], [0, 1]], np.float32),
        (lambda: torch.eye(1, 2), [[1, 0]], np.float32),
    ],
)
def test_new_tensors(made, values, dtype):
    tensor = made()
    assert type(tensor) is Tensor and tensor.dtype == dtype and not tensor.requires_grad
    np.testing.assert_array_equal(tensor, values)


def test_random_tensors_follow_the_seed():
    def drawn():
        torch.manual_seed(3)
        return [
            *(torch.rand(200), torch.randn(200), torch.randint(5, (200,)), torch.randint(-2, 2, size=(200,))),
            *(torch.randperm(200), torch.normal(1.0, 0.1, (200,)), torch.normal(torch.zeros(200), 2.0)),
            torch.rand_like(torch.ones(3)),
        ]

    first = drawn()
    for one, other in zip(first, drawn(), strict=True):
        np.testing.assert_array_equal(one, other)
    uniform, normal, five, signed, order, near, wide, _ = (one.numpy() for one in first)
    assert 0 <= uniform.min() < uniform.max() < 1 and abs(normal.mean()) < 0.2 and 0.8 < normal.std() < 1.2
    assert set(five) == set(range(5)) and set(signed) == {-2, -1, 0, 1} and set(order) == set(range(200))
    assert abs(near.mean() - 1) < 0.03 and 1.7 < wide.std() < 2.3
    assert [one.dtype for one in first[:3]] == [np.float32, np.float32, np.int64]


def test_gradients_and_memory():
    assert torch.ones(2, requires_grad=True).is_leaf and torch.randn(1, requires_grad=True).requires_grad
    numbers = np.zeros(2)
    torch.from_numpy(numbers).add_(1)
    torch.as_tensor(numbers).add_(1)
    torch.tensor(numbers).add_(1)
    assert numbers.tolist() == [2, 2]
    with pytest.raises(TypeError, match="only a floating-point Tensor can require a gradient"):
        torch.zeros(2, dtype=torch.int64, requires_grad=True)


def test_dtypes_and_device():
    assert torch.float is not float and torch.float == torch.float32 == np.float32 and torch.long == torch.int64
    assert torch.ones(1).dtype == torch.float and torch.tensor([True]).dtype == torch.bool
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert (str(device), device.type, repr(device)) == ("cpu", "cpu", "device(type='cpu')")
    assert (
        device == torch.device("cpu") == "cpu" and torch.ones(1).device == device and len({device, torch.device()}) == 1
    )
    assert torch.zeros(1, device=device).to(device).tolist() == [0]
    for ask in (
        lambda: torch.device("cuda"),
        lambda: torch.zeros(1, device="cuda:1"),
        lambda: nn.Linear(1, 1).to("mps"),
    ):
        with pytest.raises(RuntimeError, match="NumPy computes on the CPU, there is no device"):
            ask()


@torch.no_grad()
def doubled(w):
    return w * 2


def test_no_grad_decorates():
    w = torch.ones(1, requires_grad=True)
    assert not doubled(w).requires_grad and torch.is_grad_enabled()
    for training in (True, False):
        with torch.set_grad_enabled(training):
            assert (w * 2).requires_grad == training
    with torch.inference_mode():
        assert not (w * 2).requires_grad


def test_states_are_saved_and_loaded_without_pickle(tmp_path):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other.load_state_dict(torch.load(tmp_path / "model.pt", map_location="cpu", weights_only=True))
    np.testing.assert_array_equal(other.weight, model.weight)
    torch.save({"epoch": 3, "model": model.state_dict(), "losses": [torch.ones(2), 0.5]}, tmp_path / "run.pt")
    found = torch.load(tmp_path / "run.pt")
    assert found["epoch"] == 3 and type(found["losses"][0]) is Tensor and found["losses"][1] == 0.5
    torch.save({"half": np.ones(2, np.float16)}, tmp_path / "half.pt")
    assert type(torch.load(tmp_path / "half.pt")["half"]) is np.ndarray  # no Tensor has this dtype
    with pytest.raises(TypeError, match=r"save writes states, not objects: save linear\.state_dict\(\)"):
        torch.save(model, tmp_path / "model.pt")
    (tmp_path / "theirs.pt").write_bytes(b"PK\x03\x04 pickled")
    with pytest.raises(CheckpointError, match="is damaged, or not a checkpoint"):
        torch.load(tmp_path / "theirs.pt")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: torch.zeros(-1), ValueError, "zeros expects size as an integer of at least 0, got -1"),
        (lambda: torch.zeros(1.5), TypeError, "zeros expects size as an integer"),
        (lambda: torch.ones(1, dtype="x"), TypeError, "ones expects dtype as a dtype of real numbers"),
        (lambda: torch.tensor("text"), TypeError, "real numbers"),
        (lambda: torch.from_numpy([1]), TypeError, r"from_numpy expects an array, got list: use tensor\(\.\.\.\)"),
        (lambda: torch.arange(), TypeError, "arange expects end, or start, end and step, got 0 numbers"),
        (lambda: torch.rand_like(torch.arange(2)), TypeError, "rand_like draws floating-point numbers, not int64"),
        (lambda: torch.randn(2, dtype=torch.long), TypeError, "randn draws floating-point numbers, not int64"),
        (lambda: torch.save({}, 3), TypeError, "save expects f as a path, got 3"),
        (lambda: torch.arange(0, 1, 0), ValueError, "arange expects a step other than 0"),
        (lambda: torch.randint((2,)), TypeError, "randint expects high and size"),
        (lambda: torch.linspace(0, 1, -1), ValueError, "linspace expects steps as an integer of at least 0"),
        (lambda: torch.eye("x"), TypeError, "eye expects n as an integer"),
    ],
)
def test_mistakes_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_recording_is_switched_as_scripts_do():
    w = torch.ones(2, requires_grad=True)
    torch.set_grad_enabled(False)
    try:
        assert not (w * 2).requires_grad and not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)
    with torch.set_grad_enabled(False):
        assert not (w * 2).requires_grad
    assert (w * 2).requires_grad

    @torch.no_grad
    def plain():
        return w * 2

    @torch.set_grad_enabled(False)
    def also_plain():
        return w * 2

    assert torch.is_grad_enabled() and not plain().requires_grad and not also_plain().requires_grad
    with torch.inference_mode(False):
        assert (w * 2).requires_grad
    with torch.inference_mode():
        assert not (w * 2).requires_grad


def test_modules_under_pytorchs_names():
    import tinygrad_cnn.backends.cudnn as cudnn
    import tinygrad_cnn.nn.parallel as parallel
    import tinygrad_cnn.utils.model_zoo as model_zoo
    from tinygrad_cnn.cuda.amp import GradScaler, autocast
    from tinygrad_cnn.nn.modules.batchnorm import _BatchNorm
    from tinygrad_cnn.nn.modules.utils import _pair
    from tinygrad_cnn.nn.parameter import Parameter
    from tinygrad_cnn.optim.optimizer import Optimizer

    import tinygrad_cnn.autograd as autograd
    from tinygrad_cnn.autograd import Variable

    cudnn.benchmark = True
    assert (
        torch.backends.cudnn is cudnn and not torch.backends.mps.is_available() and autograd.grad is torch.autograd.grad
    )
    assert Parameter is nn.Parameter and Optimizer is optim.Optimizer and isinstance(nn.BatchNorm2d(1), _BatchNorm)
    assert _pair(3) == (3, 3) and parallel.DataParallel is nn.DataParallel
    with pytest.raises(RuntimeError, match=r"not downloaded .*load_safetensors"):
        model_zoo.load_url("resnet18.pth")
    w = Variable(torch.ones(2), requires_grad=True)
    scaler, optimizer = GradScaler(enabled=False), optim.SGD([w], lr=1.0)
    with autocast(enabled=False):
        scaler.scale((w * w).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [-1, -1] and scaler.state_dict() == {}

    @torch.jit.script
    def twice(x):
        return 2 * x

    assert twice(2) == 4 and not torch.jit.is_scripting()


def test_sizes_second_names_and_generators():
    assert torch.Tensor(2, 3).tolist() == [[0] * 3] * 2 and torch.FloatTensor(4).shape == (4,)
    assert torch.Tensor([2, 3]).tolist() == [2, 3] and torch.LongTensor([1, 2]).dtype == np.int64
    assert Tensor(np.ones(2), np.float64, True).requires_grad and torch.finfo(torch.float32).eps == np.finfo("f4").eps
    assert torch.concat is functional.cat and torch.clip is functional.clamp and torch.pi == np.pi
    first, again = (torch.Generator().manual_seed(3).permutation(5).tolist() for _ in range(2))
    assert first == again
    w = torch.ones(2, dtype=torch.float64)
    assert w.new_zeros(3, 1).dtype == np.float64 and w.new_ones((2,), dtype=torch.long).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="NumPy computes on the CPU"):
        w.new_zeros(2, device="cuda")
    assert w.nelement() == 2 and w.ndimension() == 1


def test_methods_that_change_a_tensor_in_place():
    x = torch.tensor([[-4.0, 9.0]])
    assert x.abs_() is x and x.sqrt_().tolist() == [[2, 3]] and x.pow_(2).neg_().tolist() == [[-4, -9]]
    assert x.relu_().exp_().tolist() == [[1, 1]] and x.lerp_(torch.zeros(1, 2), 0.25).tolist() == [[0.75, 0.75]]
    assert torch.zeros(2, 3).scatter_(1, torch.tensor([[2], [0]]), 1).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert x.scatter_add_(1, torch.tensor([[0, 0]]), torch.ones(1, 2)).tolist() == [[2.75, 0.75]]
    assert x.mul_(0).sigmoid_().tanh_().tolist() == [[np.tanh(np.float32(0.5))] * 2]


def test_one_element_is_a_view_that_can_be_changed():
    x, weight = torch.zeros(2, 2), torch.nn.Parameter(torch.ones(3))
    x[1, 0].fill_(5)
    x[(0, -1)].add_(2)
    for element in x[1]:
        element.mul_(2).add_(1)
    assert x.tolist() == [[0, 2], [11, 1]]
    with torch.no_grad():
        weight[1].copy_(torch.tensor(7.0))
    assert weight.tolist() == [1, 7, 1]
    with pytest.raises(RuntimeError, match="value of a recorded operation"):
        weight[0].fill_(2)


def test_an_element_of_a_recorded_result_can_begin_a_sum():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    losses = x * x
    total = losses[0]
    for i in (1, 2):
        total += losses[i]
    total /= 2
    total.backward()
    assert x.grad.tolist() == [1, 2, 3] and losses.tolist() == [1, 4, 9]


def test_the_array_of_a_leaf_is_changed_as_old_scripts_do():
    w = torch.ones(2, 2, requires_grad=True)
    loss = (w * w).sum()
    assert w.data.fill_(3).tolist() == [[3, 3], [3, 3]] and w.tolist() == [[3, 3], [3, 3]]
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()
    w.data.zero_().add_(2).mul_(3)
    w.data -= 1
    w.data[0] *= 2
    assert w.tolist() == [[10, 10], [5, 5]] and not (w.data * 2).requires_grad
    torch.manual_seed(0)
    assert 0.1 < w.data.normal_(0, 1).std() < 2 and w.data.copy_(np.ones(2)).sum() == 4
    kept = w.data.clone()
    loss = (w * w).sum()
    w.data[0, 0] = 5
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()
    w.data = kept
    w.data *= 2
    assert w.requires_grad and w.tolist() == kept.tolist() == [[2, 2], [2, 2]]


def test_a_file_for_safetensors_is_not_written_in_another_format(tmp_path):
    for call in (lambda path: torch.save({}, path), torch.load):
        with pytest.raises(ValueError, match=r"(save|load) takes files of our own format.*use (save|load)_safetensors"):
            call(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_no_name_of_pytorchs_hides_a_module_of_the_package():
    folder = Path(tinygrad_cnn.__file__).parent
    hidden = [path for path in MODULES if (folder / f"{path.replace('.', '/')}.py").exists()]
    assert hidden == []


def test_methods_under_pytorchs_second_names():
    x = Tensor([[1.0, -2.0]])
    assert tinygrad_cnn.clamp_min(x, 0.0).tolist() == x.clamp_min(0.0).tolist() == [[1.0, 0.0]]
    assert x.clamp_max(0.0).tolist() == [[0.0, -2.0]] and x.is_contiguous() and tinygrad_cnn.numel(x) == 2
    assert x.new_full((2,), 3.0).tolist() == [3.0, 3.0] and x.new_tensor([1, 2]).dtype == np.float32
    assert x.floor_divide(2).tolist() == [[0.0, -1.0]] and x.clone().addcmul_(x, x, value=2).tolist() == [[3.0, 6.0]]
    assert x.clone().addcdiv_(x, x, value=0.5).tolist() == [[1.5, -1.5]]


def test_new_tensors_take_a_size_by_name_and_pass_over_what_is_harmless():
    assert torch.ones(size=(2, 3)).shape == torch.randn(size=(2, 3)).shape == (2, 3) and torch.zeros(()).shape == ()
    assert torch.zeros_like(torch.ones(2), memory_format=torch.preserve_format).tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match="zeros has no argument shape"):
        torch.zeros(shape=(2, 3))
