"""Searches: how an Experiment's next parameters are found. The server imports no numeric library from here."""
