"""The gateway's branch of the error tree.

::

    LightshipError
    ├── InvalidInput
    │   └── BadRoute         a route object that cannot be read (it is left out, the others serve on)
    ├── NotFound
    │   └── NoRoute          no InferenceService at that host and path        404
    ├── Unavailable
    │   ├── NoEndpoint       the InferenceService has nothing ready           503
    │   └── QueueFull        too many requests wait for it already            503
    ├── DeadlineExceeded
    │   └── UpstreamSilent   it did not start, had no place or did not answer in time   504
    └── InternalError
        └── UpstreamBroken   the model server broke off or spoke nonsense     502
"""

from __future__ import annotations

from lightship import errors


class BadRoute(errors.InvalidInput):
    """A route object that cannot be read."""


class NoRoute(errors.NotFound):
    """No InferenceService is at that host and path."""


class NoEndpoint(errors.Unavailable):
    """The InferenceService is there and nothing of it is ready."""


class QueueFull(errors.Unavailable):
    """Too many requests wait already."""


class UpstreamSilent(errors.DeadlineExceeded):
    """The model server did not answer in time."""


class UpstreamBroken(errors.InternalError):
    """The model server could not be reached, broke off, or spoke something that is not HTTP."""


_STATUS: tuple[tuple[type[errors.LightshipError], int], ...] = (
    (errors.TooLarge, 413),
    (errors.InvalidInput, 400),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Unsupported, 501),
    (UpstreamBroken, 502),
    (errors.DeadlineExceeded, 504),
    (errors.Unavailable, 503),
)


def http_status(error: Exception) -> int:
    """The HTTP status that an error answers with."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500
