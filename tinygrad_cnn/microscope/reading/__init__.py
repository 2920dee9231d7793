"""Reading: a recorded graph with the names of its axes, and its rules as formulas."""
