"""TrainJob: a training runtime, and what one training wants of it."""
