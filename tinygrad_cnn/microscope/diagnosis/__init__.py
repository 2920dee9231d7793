"""Judging: whether a gradient is right, and what kind of mistake it looks like if it is not."""
