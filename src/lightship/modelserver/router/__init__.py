"""The router of an InferenceGraph: a light process of its own that asks one model after another, or several at once."""
