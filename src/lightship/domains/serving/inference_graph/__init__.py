"""InferenceGraph: several InferenceServices behind one address."""
