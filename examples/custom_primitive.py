"""A primitive of your own: a NumPy function, and under it one vector-Jacobian product per array argument."""

import numpy as np

from tinygrad_cnn import GradcheckError, Tensor, gradcheck, primitive


@primitive
def softplus(x):
    """log(1 + eˣ), a smooth ReLU; written so that eˣ cannot overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# The cotangent g of the output becomes that of x: g · d softplus / dx, and the derivative is the sigmoid.
# Written with operators that arrays and Tensors share, the rule can itself be differentiated.
softplus.defvjp(lambda g, out, x: g / (1 + np.exp(-x)))

x = Tensor([-2.0, 0.0, 3.0], requires_grad=True)
y = softplus(x)
y.sum().backward()
print("softplus(x) =", y.numpy())
print("gradient    =", x.grad.numpy())

gradcheck(softplus, x)
print("gradcheck: the rule agrees with finite differences")

# The same function with a slip in its rule: gradcheck names the input, the element and both values.
softplus.defvjp(lambda g, out, x: g / (1 + np.exp(x)))
print("now with a slip in the rule:")
try:
    gradcheck(softplus, x)
except GradcheckError as error:
    print("gradcheck:", error)
