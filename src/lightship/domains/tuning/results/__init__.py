"""What came of an Experiment: the best Trial, the whole table, and plots. Pure; ``commands`` calls me."""
