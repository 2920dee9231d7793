"""Watching a run: the first NaN or infinity, what operations cost, what a model is made of."""
