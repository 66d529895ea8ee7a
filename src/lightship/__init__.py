"""Lightship: Kubeflow's objects, APIs and SDKs in one Python package."""

__version__ = "0.1.0"
