"""Showing: a graph as a tree, a drawing or a page, and, as a loom, of which numbers each number is made."""

from .show import show

__all__ = ["show"]
