"""Pipelines and their versions as Kubernetes objects, so that ``kubectl`` and REST show the same ones.

The objects are the truth, the rows of the records their index: REST writes object and row in one request, ``mirror``
writes the rows of what comes and goes by ``kubectl``. ``kinds``, ``admission`` and ``translate`` are pure.
"""
