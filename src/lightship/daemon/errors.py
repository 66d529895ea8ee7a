"""This room's branch of the error tree."""

from __future__ import annotations

from lightship import errors


class DataDirUnusable(errors.StateError):
    """The data directory cannot be made, written or locked."""


class AlreadyRunning(errors.StateError):
    """Another server holds the data directory."""


class PortInUse(errors.StateError):
    """A port that was asked for is taken."""


class NotRunning(errors.Unavailable):
    """No server runs on that data directory."""


class StartFailed(errors.LightshipError):
    """A detached server ended before it was ready."""

    reason = "StartFailed"
