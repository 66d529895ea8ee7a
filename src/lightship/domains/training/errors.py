"""Training's branch of the error tree.

::

    LightshipError
    ├── InvalidInput
    │   └── BadSnapshot       a runtime snapshot that is not the TrainJob's own     422
    └── NotFound
        └── NoPodGroups       the cluster lacks the kind of PodGroup asked for      404
"""

from __future__ import annotations

from lightship import errors


class BadSnapshot(errors.InvalidInput):
    """The ConfigMap that should hold the runtime's snapshot belongs to another, or holds something else."""


class NoPodGroups(errors.NotFound):
    """A runtime's podGroupPolicy asks for a PodGroup of a kind that the cluster does not serve."""
