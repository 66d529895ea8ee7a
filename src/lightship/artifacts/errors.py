"""My branch of the error tree::

    InvalidInput
    └── BadLocation       a URI that is malformed, or that leads out of its bucket
    Unsupported
    └── NotServed         a scheme that this store does not hold
    NotFound
    └── NoSuchArtifact
    InvalidInput
    └── UnsafeTree        a directory to keep that holds links out of it, devices or pipes
"""

from __future__ import annotations

from lightship import errors


class BadLocation(errors.BadRequest):
    """The URI cannot name an artifact."""


class NotServed(errors.Unsupported):
    """The URI is of a store that is not configured here."""


class NoSuchArtifact(errors.NotFound):
    """Nothing lies at the URI."""


class UnsafeTree(errors.InvalidInput):
    """The directory holds something that must not be kept."""
