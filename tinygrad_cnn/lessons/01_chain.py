# %% [markdown]
# # 1. A chain of derivatives
#
# A program that computes one number is made of small operations, and the derivative of each of them is known. This
# lesson puts them together into the derivative of the whole: first by hand, then with the operations written down as
# data and a short function that walks through them backwards. It shows why the order of that walk matters, and ends
# with the library, which does the same.
#
# You need Python and calculus, and from lesson 2 on NumPy. Run a lesson with `python examples/lessons/01_chain.py`, or
# cell by cell in an editor that knows `# %%`. Next is lesson 2: the same with vectors in the place of numbers.

# %%
import math

from tinygrad_cnn import Tensor, graph

# %% [markdown]
# ## Three operations in a row
#
# From x come a = 3x, b = tanh(a) and y = exp(b). The chain rule says
#
#     dy/dx = dy/db · db/da · da/dx
#
# There is a check that needs no calculus: move x a little to both sides and look how far y moves. The quotient
#
#     (y(x + h) - y(x - h)) / (2h)
#
# is called a *finite difference*. It is not exact, but it uses no rule of differentiation.


# %%
def compute(x):
    return math.exp(math.tanh(3 * x))


x = 0.2
a = 3 * x
b = math.tanh(a)
y = math.exp(b)

da_dx = 3.0
db_da = 1 - b * b  # the derivative of tanh, written with the value of tanh
dy_db = y  # exp is its own derivative
h = 1e-5

print(f"dy/db = {dy_db:.6f}   db/da = {db_da:.6f}   da/dx = {da_dx:.6f}")
print(f"product of the three  {dy_db * db_da * da_dx:.6f}")
print(f"finite difference     {(compute(x + h) - compute(x - h)) / (2 * h):.6f}")

# %% [markdown]
# ## From the end to the beginning
#
# Begin at the result with dy/dy = 1 and multiply by one factor after another. After each step we hold the derivative of
# y with respect to one of the values: b, then a, then x. The derivative of the result with respect to a value is called
# the *cotangent* of that value; in code it is called `g`. One walk backwards gives the cotangents of all values.

# %%
g = 1.0
for value, factor in (("b", dy_db), ("a", db_da), ("x", da_dx)):
    g = g * factor
    print(f"cotangent of {value}: {g:.6f}")

# %% [markdown]
# ## The operations as data
#
# For a program to do this, the operations must be written down while they are carried out. A *node* is one operation
# that was carried out. It holds
#
# - its value,
# - its inputs, which are nodes themselves,
# - for each input a *rule*: a function that turns the cotangent of the node's value into the cotangent of that input.
#
# A node without inputs is a *leaf*: a number that was given. All nodes together are a *graph*.


# %%
class Node:
    made = 0

    def __init__(self, name, value, inputs=(), rules=()):
        self.name, self.value, self.inputs, self.rules = name, value, inputs, rules
        Node.made += 1
        self.order = Node.made  # nodes are numbered as they are made


def leaf(name, value):
    return Node(name, value)


def add(a, b):
    return Node("add", a.value + b.value, (a, b), (lambda g: g, lambda g: g))


def mul(a, b):
    return Node("mul", a.value * b.value, (a, b), (lambda g: g * b.value, lambda g: g * a.value))


def tanh(a):
    t = math.tanh(a.value)
    return Node("tanh", t, (a,), (lambda g: g * (1 - t * t),))


def exp(a):
    e = math.exp(a.value)
    return Node("exp", e, (a,), (lambda g: g * e,))


node = exp(tanh(mul(leaf("three", 3.0), leaf("x", 0.2))))
while node.inputs:
    print(f"{node.name:<5} = {node.value:.6f}   inputs: {', '.join(source.name for source in node.inputs)}")
    node = node.inputs[-1]

# %% [markdown]
# ## A value that is used twice
#
# In y = a + a one value reaches y in two ways, and dy/da = 2. In general, if y = f(u, v) with u = v = a, then dy/da =
# df/du + df/dv: **what arrives from several uses is added up.** Below is a walk that visits each node once, in the
# order in which it meets them. If what arrives overwrites what arrived before, one of the uses is lost.


# %%
def walk_as_met(result, add_up):
    """Cotangents of all nodes, each node visited once, in the order in which the walk meets them."""
    g = {result: 1.0}
    waiting = [result]
    while waiting:
        node = waiting.pop(0)
        for source, rule in zip(node.inputs, node.rules, strict=True):
            if source not in g:
                waiting.append(source)
            before = g.get(source, 0.0) if add_up else 0.0
            g[source] = before + rule(g[node])
    return g


a = leaf("a", 5.0)
y = add(a, a)
print(f"a + a, overwritten:  dy/da = {walk_as_met(y, add_up=False)[a]}")
print(f"a + a, added up:     dy/da = {walk_as_met(y, add_up=True)[a]}")

# %% [markdown]
# ## A diamond, and a node that is visited too early
#
# Now x = 3, a = 2x, b = 5a and y = a·b. The value a is used by b and by y, and these paths meet again in y: such a
# graph is called a diamond. By hand: y = 2x · 10x = 20x², so dy/dx = 40x = 120.
#
#     x -> a -----> y
#           \-> b ->/
#
# The walk above adds up, and its answer for x is wrong all the same. It comes to a before b, and hands on to x what a
# has received until then. What reaches a by way of b comes later. a itself ends up right, x does not.

# %%
x = leaf("x", 3.0)
a = mul(leaf("two", 2.0), x)
b = mul(leaf("five", 5.0), a)
y = mul(a, b)

g = walk_as_met(y, add_up=True)
print(f"visited as met:      dy/da = {g[a]}, dy/dx = {g[x]}   (60 and 120 would be right)")

# %% [markdown]
# ## A node that is visited too often
#
# The next walk goes on to the inputs each time something arrives. If it hands on the total, what came first is handed
# on twice. If it hands on only what has just arrived, it follows each path from the result to the leaves by itself, and
# the answer is right: the derivative is the sum over all paths of the products along each path. But the number of paths
# can double with each value that is used twice: sixteen doublings x + x in a row have 17 nodes and 65,536 paths.


# %%
def walk_with_totals(node, g, found):
    found[node] = found.get(node, 0.0) + g
    for source, rule in zip(node.inputs, node.rules, strict=True):
        walk_with_totals(source, rule(found[node]), found)


visits = 0


def walk_each_path(node, g, found):
    global visits
    visits += 1
    found[node] = found.get(node, 0.0) + g
    for source, rule in zip(node.inputs, node.rules, strict=True):
        walk_each_path(source, rule(g), found)


found = {}
walk_with_totals(y, 1.0, found)
print(f"totals handed on:    dy/da = {found[a]}, dy/dx = {found[x]}")
found = {}
walk_each_path(y, 1.0, found)
print(f"each path by itself: dy/da = {found[a]}, dy/dx = {found[x]}")

start = doubled = leaf("start", 1.0)
for _ in range(16):
    doubled = add(doubled, doubled)
visits, found = 0, {}
walk_each_path(doubled, 1.0, found)
print(f"16 doublings, each path by itself: derivative {found[start]:.0f} after {visits:,} visits")

# %% [markdown]
# ## Topological order
#
# The way out is to visit a node once, and only after all nodes that use its value. An order in which every node stands
# before its inputs is here called a *topological order* (elsewhere often the reverse). One is at hand: a node can only
# be made after its inputs, so it is the order in which the nodes were made, read backwards.


# %%
def backward(result):
    """The cotangents of all nodes that the result depends on."""
    reached, waiting = {result}, [result]
    while waiting:
        for source in waiting.pop().inputs:
            if source not in reached:
                reached.add(source)
                waiting.append(source)
    g = {result: 1.0}
    for node in sorted(reached, key=lambda node: node.order, reverse=True):
        for source, rule in zip(node.inputs, node.rules, strict=True):
            g[source] = g.get(source, 0.0) + rule(g[node])  # all uses of `node` have added to g[node] by now
    return g


g = backward(y)
print(f"topological order:   dy/da = {g[a]}, dy/dx = {g[x]}")
g = backward(doubled)
print(f"16 doublings, topological order:   derivative {g[start]:.0f} after {len(g)} visits")

# %% [markdown]
# ## The library
#
# A `Tensor` that requires a gradient writes such nodes as it is computed with, `topological_order` lists them, and
# `backward()` walks through them. The derivative of the result with respect to a leaf is found in its `.grad`: the
# *gradient*. Constants are no leaves here, as nobody asks for their derivative. The engine, `tinygrad_cnn/graph.py`,
# does what you have just read, for arrays.

# %%
x = Tensor(3.0, requires_grad=True)
a = 2 * x
y = a * (5 * a)
names = [node.primitive.name if isinstance(node, graph.Node) else "leaf" for node in graph.topological_order([y.node])]
print(f"recorded, the last first: {', '.join(names)}")
y.backward()
print(f"Tensor, diamond:     dy/dx = {x.grad.item()}")

a = Tensor(5.0, requires_grad=True)
(a + a).backward()
print(f"Tensor, a + a:       dy/da = {a.grad.item()}")

x = Tensor(0.2, requires_grad=True)
(3 * x).tanh().exp().backward()
print(f"Tensor, the chain:   dy/dx = {x.grad.item():.6f}")
