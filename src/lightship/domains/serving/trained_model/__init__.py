"""TrainedModel: one of several models that one InferenceService's server loads and lets go while it runs."""
