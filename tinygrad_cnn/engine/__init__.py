"""The engine: it records operations and walks their graph backwards, and knows no calculus.

Begin with `graph`: Node, Primitive and backpropagate.
"""
