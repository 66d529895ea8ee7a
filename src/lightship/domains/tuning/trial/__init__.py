"""Trial: one run with one assignment, and what was measured of it."""
