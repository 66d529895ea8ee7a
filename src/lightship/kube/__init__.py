"""Kubernetes' vocabulary without I/O: objects, kinds, conditions, selectors, quantities, patches."""
