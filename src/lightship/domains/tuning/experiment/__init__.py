"""Experiment: what is searched for, within which bounds, and how far it is."""
