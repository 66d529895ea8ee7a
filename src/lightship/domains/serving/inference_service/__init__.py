"""InferenceService: a model behind a URL."""
