"""Readers of the graph: they explain, show, check and watch what the engine records. The engine knows none of them."""
