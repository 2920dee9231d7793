# %% [markdown]
# # 1. A chain of derivatives
#
# A program that computes one number is made of small operations, and the
# derivative of each of them is known. This lesson puts them together into
# the derivative of the whole: first by hand, then by a program of thirty
# lines. These lines are yours: the lessons that follow add to them until
# they train a network.
#
# You need Python and calculus, and from lesson 2 on NumPy. A lesson asks
# before it tells: guess first, then look. `python -m tinygrad_cnn book`
# shows the lessons as a book, with figures.
# `python -m tinygrad_cnn lesson 1` runs this one in the terminal; editors
# that know `# %%` run it cell by cell. Next is lesson 2: vectors in the
# place of numbers.

# %%
import numpy as np

from tinygrad_cnn import Tensor
from tinygrad_cnn.lessons import answer, ask

# %% [markdown]
# ## Three operations in a row
#
# From x come a = 3x, b = a² and y = b + 5. Each step has a derivative that
# everybody knows:
#
#     da/dx = 3        db/da = 2a        dy/db = 1
#
# and the chain rule multiplies them: dy/dx = dy/db · db/da · da/dx.

# %% question
ask("At x = 2: how fast does y change when x changes? How much is dy/dx?")

# %% answer
x = 2
a = 3 * x  # 6
b = a * a  # 36
y = b + 5  # 41
answer(1 * (2 * a) * 3)

# %% [markdown]
# There is a check that needs no calculus: move x a little to both sides and
# look how far y moves. The quotient
#
#     (y(x + h) - y(x - h)) / (2h)
#
# is called a *finite difference*. It uses no rule of differentiation, so it
# can be trusted where a rule cannot.


# %%
def compute(x):
    return (3 * x) ** 2 + 5


h = 0.001
up, down = compute(2 + h), compute(2 - h)
print(f"y({2 + h}) = {up:.6f}, y({2 - h}) = {down:.6f}")
print(f"finite difference: {(up - down) / (2 * h):.6f}")

# %% [markdown]
# ## From the end to the beginning
#
# Begin at the result with dy/dy = 1, and multiply by one factor after
# another, from the last step to the first. After each step we hold the
# derivative of y with respect to one of the values: b, then a, then x. The
# derivative of the result with respect to a value is called the *cotangent*
# of that value; in code it is `g`. One walk backwards gives the cotangents
# of all values, however many there are.

# %%
g = 1
print(f"y: {g}")
for name, factor in (("b", 1), ("a", 2 * a), ("x", 3)):
    g = g * factor
    print(f"{name}: times {factor} is {g}")

# %% [markdown]
# ## The operations as data
#
# For a program to do this, the operations must be written down while they
# are carried out. A *node* is one operation that was carried out. It holds
#
# - its value,
# - its inputs, which are nodes themselves,
# - for each input a *rule*: a function from the cotangent of the node to
#   what this input receives.
#
# A node without inputs is a *leaf*: a number that was given. All nodes
# together are a *graph*. Nodes are numbered in the order in which they are
# made; you will see why.


# %% engine
class Node:
    """One operation that was carried out."""

    made = 0

    def __init__(self, value, inputs=(), rules=()):
        self.value, self.shape = value, np.shape(value)
        self.inputs = inputs
        self.rules = rules  # one for each input: from g to what it receives
        Node.made += 1
        self.order = Node.made


# %% [markdown]
# A sum hands its cotangent to both inputs. A product hands to each input g
# times the other one.


# %% engine
def add(a, b):
    return Node(a.value + b.value, [a, b], [lambda g: g, lambda g: g])


def mul(a, b):
    rules = [lambda g: g * b.value, lambda g: g * a.value]
    return Node(a.value * b.value, [a, b], rules)


# %%
x, three, five = Node(2), Node(3), Node(5)
a = mul(three, x)
b = mul(a, a)
y = add(b, five)
print(f"a = {a.value}, b = {b.value}, y = {y.value}")
for rule in a.rules:
    print(f"the rule of a, given g = 10, hands on {rule(10)}")

# %% [markdown]
# ## A value that is used twice
#
# b = a · a uses a twice: as the left factor and as the right one. Each use
# hands g · a to it, and the derivative of a² is 2a. So **what arrives from
# several uses is added up.** This holds for every value: if y = f(u, v)
# with u = v = a, then dy/da = df/du + df/dv.
#
# Now a graph in which it matters *when* a node is visited: x = 3, a = 2x, b
# = 5a and y = a · b.
#
#     x --> a ---------> y
#            \--> b --->/
#
# y hands to a, and y hands to b, and b hands to a. Take the nodes as they
# are met: y first, then its inputs a and b, then their inputs. Each is
# visited once, and hands on what it has received until then.


# %%
def walk_as_met(result):
    """Visit each node once, in the order in which the walk meets them."""
    g = {result: 1}
    waiting = [result]
    while waiting:
        node = waiting.pop(0)
        for source, rule in zip(node.inputs, node.rules, strict=True):
            if source not in g:
                waiting.append(source)
            part = rule(g[node])
            g[source] = g.get(source, 0) + part
            hands = f"hands {part} to {name[source]}"
            print(f"{name[node]} has {g[node]}, {hands}")
    return g


x, two, five = Node(3), Node(2), Node(5)
a = mul(two, x)  # 6
b = mul(five, a)  # 30
y = mul(a, b)  # 180
name = {x: "x", two: "2", five: "5", a: "a", b: "b", y: "y"}

# %% question
ask(
    "By hand, y = 2x · 10x = 20x², so dy/dx = 40x = 120. Does this walk "
    "find 120 for x? If not, what?"
)

# %% answer
g = walk_as_met(y)
answer(g[x])
print(f"dy/da = {g[a]}")

# %% [markdown]
# a handed on 30 · 2 = 60 before the other 30 reached it by way of b. In the
# end a itself has the right 60. x does not: it should have received 60 · 2.
#
# Handing on each part as it arrives would be right, and slow: it follows
# every path from the result by itself, and the number of paths can double
# with every value that is used twice. In sixteen doublings x + x one after
# another, it would follow 65,536 paths through 17 nodes.
#
# ## All of its uses first
#
# The way out is to visit a node once, and only after all nodes that use its
# value. Such an order is at hand: a node can only be made after its inputs.
# So among the nodes that wait for their turn, always take the one that was
# made last. All nodes that use its value were made later, and have had
# theirs.


# %% engine
def backward(result, g=None):
    """The cotangents of all nodes that the result was computed from."""
    cotangents = {result: np.ones_like(result.value) if g is None else g}
    waiting = {result}
    while waiting:
        node = sorted(waiting, key=lambda node: node.order)[-1]
        waiting.remove(node)  # made last: all its uses have reported
        for source, rule in zip(node.inputs, node.rules, strict=True):
            part = rule(cotangents[node])
            if source in cotangents:
                part = cotangents[source] + part
            cotangents[source] = part
            waiting.add(source)
    return cotangents


# %%
g = backward(y)
for node in sorted(g, key=lambda node: -node.order):
    for source, rule in zip(node.inputs, node.rules, strict=True):
        hands = f"hands {rule(g[node])} to {name[source]}"
        print(f"{name[node]} has {g[node]}, {hands}")
print(f"dy/dx = {g[x]}")

# %% figure diamond
# Here is the graph as a figure. The cotangent of `a` is written `da`.
# Point at `a`: two things use it, and each hands something back. y hands
# it 1 · 30, and b hands it 5 · 6 = 30. The bias of a layer, a pixel under
# many windows, a weight that is used at every step: all of them receive
# such a sum.
#
# Now choose *as soon as it is met*, and play the backward half. The walk
# comes from y to a first, and hands on what a has received until then.
# Only afterwards does b report. In the end da is right and dx is not.
# Nothing crashes, and no number looks odd.
#
# Change x: drag it up or down, or press + and −. The finite difference
# below the figure is computed anew each time. It knows no rule, so it
# cannot make the same mistake.

# %%
doubled = start = Node(1)
for _ in range(16):
    doubled = add(doubled, doubled)
g = backward(doubled)
print(f"16 doublings: derivative {g[start]}, {len(g)} nodes visited")

# %% [markdown]
# ## The library
#
# The engine of the library, `tinygrad_cnn/engine/graph.py`, does what you
# have just read. A `Tensor` that requires a gradient writes down the nodes,
# and `backward()` walks through them. The derivative with respect to a leaf
# is then found in its `.grad`, the *gradient*.

# %%
x = Tensor(3.0, requires_grad=True)
a = 2 * x
b = 5 * a
y = a * b
y.backward()
print(f"the library: dy/dx = {x.grad.item()}")
