"""The jobs of ``kubeflow.org/v1``: one engine, and a small module a framework that says what is its own."""
