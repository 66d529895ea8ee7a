"""The node's branch of the error tree::

    LightshipError
    ├── StartError          a container cannot start; its waiting reason and message are what kubelet would show
    │   ├── ImageError      the image maps to no environment, or the environment cannot be built
    │   └── ConfigError     what its spec refers to is not there
    └── ZygoteError         a fork server could not be started or has died
"""

from __future__ import annotations

from lightship import errors


class StartError(errors.Unavailable):
    """A container cannot start (yet). ``waiting`` is the reason in its state, such as ``ErrImagePull``."""

    def __init__(self, waiting: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.waiting = waiting


class ImageError(StartError):
    """The image maps to no environment, or the environment cannot be built."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__("ErrImagePull", message, remedy=remedy)


class ConfigError(StartError):
    """What the container's spec refers to is not there."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__("CreateContainerConfigError", message, remedy=remedy)


class ZygoteError(errors.Unavailable):
    """A fork server could not be started or has died."""
