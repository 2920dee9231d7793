"""Published CNNs and a published script, with nothing but their imports changed, beside PyTorch."""

import numpy as np
import pytest
from published import HEAD, MODELS, TUTORIAL, run
from references import fixed

from tinygrad_cnn import Tensor
from tinygrad_cnn import functional as F

torch = pytest.importorskip("torch")


def twins(source):
    """A model of PyTorch and one of ours with the same weights, in float64 and in training mode."""
    theirs, ours = (run(source, framework) for framework in ("torch", "tinygrad_cnn"))
    theirs, ours = theirs["Model"]().double(), ours["Model"]().double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    return theirs, ours


@pytest.mark.parametrize("name", MODELS)
def test_scores_gradients_and_statistics_are_pytorchs(name):
    torch.manual_seed(0)
    theirs, ours = twins(HEAD + MODELS[name])
    x, target = fixed((4, 3, 12, 12)), np.array([1, 0, 9, 3])
    for _ in range(2):  # the second time with running statistics that have moved
        their_x, our_x = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
        expected, scores = theirs(their_x), ours(our_x)
        np.testing.assert_allclose(scores, expected.detach(), rtol=1e-6, atol=1e-9)
        torch.nn.functional.cross_entropy(expected, torch.from_numpy(target)).backward()
        F.cross_entropy(scores, target).backward()
    np.testing.assert_allclose(our_x.grad, their_x.grad, rtol=1e-6, atol=1e-9)
    for (key, their), (_, our) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert (their.grad is None) == (our.grad is None), key
        if their.grad is not None:
            np.testing.assert_allclose(our.grad, their.grad, rtol=1e-6, atol=1e-9, err_msg=key)
    for key, their in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], their, rtol=1e-6, atol=1e-12, err_msg=key)
    np.testing.assert_allclose(ours.eval()(Tensor(x)), theirs.eval()(torch.tensor(x)).detach(), rtol=1e-6, atol=1e-9)


def test_a_published_script_gives_the_same_losses_step_by_step():
    torch.manual_seed(0)
    scripts = [run(TUTORIAL, framework) for framework in ("torch", "tinygrad_cnn")]
    theirs, ours = (script["Net"]().double() for script in scripts)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    batches = [(fixed((8, 1, 8, 8), seed), np.arange(seed, seed + 8) % 10) for seed in range(3)]
    expected, found = (script["main"](model, batches) for script, model in zip(scripts, (theirs, ours), strict=True))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    assert found[0][-1] < found[0][0]
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-9)
