"""Suggestion: the assignments that an Experiment's algorithm has given out."""
