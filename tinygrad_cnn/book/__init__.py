"""Backpropagation, element by element: a book in one HTML file, computed by the engine as it is written."""
