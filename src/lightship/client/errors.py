"""What can go wrong on the way to a cluster, as a branch of the trunk::

    errors.InvalidInput
    └── InvalidKubeconfig   the file cannot be used; the message names the file and the field
"""

from __future__ import annotations

from lightship import errors


class InvalidKubeconfig(errors.InvalidInput):
    """A kubeconfig that cannot be read or lacks something."""

    reason = "InvalidKubeconfig"
