"""The model server's branch of the error tree, and the one map from it to HTTP.

::

    LightshipError
    ├── InvalidInput
    │   └── InvalidTensor     inputs that the model cannot take              400
    ├── NotFound
    │   └── ModelMissing      no model of that name or version here          404
    ├── Unavailable
    │   ├── ModelNotReady     still loading, or draining                     503
    │   └── QueueFull         more waits than the limit allows               503
    ├── StateError
    │   └── LoadFailed        the model's files cannot be loaded             (exit code)
    └── InternalError
        └── PredictFailed     the model's own code raised                    500
"""

from __future__ import annotations

from lightship import errors


class InvalidTensor(errors.InvalidInput):
    """Inputs that the model cannot take; the message names the input."""


class ModelMissing(errors.NotFound):
    """There is no model of that name or version in this server."""


class ModelNotReady(errors.Unavailable):
    """The model is still loading, or the server drains."""


class QueueFull(errors.Unavailable):
    """As many requests wait as the limit allows."""


class LoadFailed(errors.StateError):
    """The model's files are missing, broken or of another format."""


class PredictFailed(errors.InternalError):
    """The model's own code raised."""


_STATUS: tuple[tuple[type[errors.LightshipError], int], ...] = (
    (errors.TooLarge, 413),
    (errors.InvalidInput, 400),
    (errors.NotFound, 404),
    (errors.Unsupported, 501),
    (errors.DeadlineExceeded, 504),
    (errors.Unavailable, 503),
)


def http_status(error: Exception) -> int:
    """The HTTP status that an error answers with; 500 for whatever is not in the tree."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500
