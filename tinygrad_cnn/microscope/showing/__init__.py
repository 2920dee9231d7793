"""Showing: derivations, trees, drawings and the page."""
