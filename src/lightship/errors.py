"""The trunk of the error tree: what can go wrong, named once.

I import nothing; every room branches from me in its own ``errors.py``::

    LightshipError
    ├── InvalidInput      the caller sent something wrong          400 / 422
    │   └── TooLarge      more than a named limit allows           413
    ├── Unauthenticated   no identity, or one that is not known    401
    ├── Forbidden         an identity that may not do this         403
    ├── NotFound          no such thing                            404
    ├── Conflict          the thing changed, or is there already   409
    │   └── AlreadyExists
    ├── Gone              the history asked for is compacted       410
    ├── Unsupported       this place cannot do that, and says why  501
    ├── Unavailable       not now; later may work                  503
    │   └── DeadlineExceeded                                       504
    ├── StateError        the data directory or database cannot be used
    └── InternalError     a bug of ours                            500

An error's text says what happened and names the place; ``remedy`` says what the reader can do next.
"""

from __future__ import annotations

from typing import ClassVar


class LightshipError(Exception):
    """The base of every error that Lightship raises on purpose.

    ``reason`` is the machine-readable code (Kubernetes' ``Status.reason`` where one exists); ``remedy`` is one
    sentence for the reader, or empty.
    """

    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class InvalidInput(LightshipError):
    """What the caller sent is wrong; ``field`` is the path of the offending place, such as ``spec.predictor``."""

    reason = "Invalid"

    def __init__(self, message: str, *, remedy: str = "", field: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class BadRequest(InvalidInput):
    """The request cannot even be read: not JSON, an unknown query value, a broken selector."""

    reason = "BadRequest"


class TooLarge(InvalidInput):
    """More than a named limit allows."""

    reason = "RequestEntityTooLarge"


class Unauthenticated(LightshipError):
    """No identity came with the request, or one that is not known."""

    reason = "Unauthorized"


class Forbidden(LightshipError):
    """The identity is known and may not do this."""

    reason = "Forbidden"


class NotFound(LightshipError):
    """There is no such thing."""

    reason = "NotFound"


class Conflict(LightshipError):
    """The thing changed since it was read."""

    reason = "Conflict"


class AlreadyExists(Conflict):
    """A thing of that name is there already."""

    reason = "AlreadyExists"


class Gone(LightshipError):
    """The history asked for is compacted away: list again."""

    reason = "Expired"


class Unsupported(LightshipError):
    """This place cannot do that, and the message says why."""

    reason = "NotImplemented"


class Unavailable(LightshipError):
    """Not now; later may work."""

    reason = "ServiceUnavailable"


class DeadlineExceeded(Unavailable):
    """It took longer than its limit."""

    reason = "Timeout"


class StateError(LightshipError):
    """The data directory, a lock or a database in it cannot be used."""

    reason = "StateError"


class InternalError(LightshipError):
    """A bug of ours."""

    reason = "InternalError"
