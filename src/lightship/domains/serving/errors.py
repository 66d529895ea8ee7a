"""Serving's branch of the error tree.

::

    LightshipError
    ├── InvalidInput
    │   └── BadStorageUri     a storageUri that cannot be read            400
    ├── Unsupported
    │   └── StorageRefused    a storageUri that this place does not fetch (exit code of the initializer)
    └── NotFound
        └── NothingStored     the storageUri holds nothing                (exit code of the initializer)
"""

from __future__ import annotations

from lightship import errors


class BadStorageUri(errors.InvalidInput):
    """A storageUri that cannot be read, or of a scheme that nobody knows."""


class StorageRefused(errors.Unsupported):
    """A storageUri that is right and that this place does not fetch."""


class NothingStored(errors.NotFound):
    """Nothing lies under the storageUri."""
