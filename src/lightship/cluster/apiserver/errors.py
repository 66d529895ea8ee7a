"""The API server's branch of the error tree::

    LightshipError
    ├── MethodNotAllowed             this path is there, this verb is not             405
    ├── DisruptionRefused            an eviction would break a disruption budget      429
    ├── errors.Forbidden
    │   └── NamespaceTerminating     what is being deleted takes nothing new           403
    ├── errors.Gone
    │   └── ListExpired              a list's next page is of too old a state          410
    ├── errors.Conflict
    │   └── ApplyConflict            somebody else owns what an apply would change    409
    └── errors.InvalidInput
        ├── Invalid                  admission found faults, each with its field      422
        ├── NotAcceptable            none of the formats asked for                    406
        └── UnsupportedMediaType     a body in a format that is not read              415
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lightship import errors


class Cause(NamedTuple):
    """One fault of an object: where, and what is wrong there."""

    field: str
    message: str


class MethodNotAllowed(errors.LightshipError):
    """This path is there, this verb is not."""

    reason = "MethodNotAllowed"


class DisruptionRefused(errors.LightshipError):
    """An eviction would break a disruption budget; ``cause`` says which, and how far it is."""

    reason = "TooManyRequests"

    def __init__(self, message: str, cause: str, *, retry_after_seconds: int = 0) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after_seconds = retry_after_seconds


class NamespaceTerminating(errors.Forbidden):
    """A namespace that is being deleted takes no new objects; ``what`` would have been created."""

    def __init__(self, what: str, namespace: str) -> None:
        self.cause = f"namespace {namespace} is being terminated"
        super().__init__(f"{what} is forbidden: unable to create new content in namespace {namespace} because it is "
                         "being terminated")


class NotAcceptable(errors.InvalidInput):
    """None of the formats asked for can be given."""

    reason = "NotAcceptable"


class UnsupportedMediaType(errors.InvalidInput):
    """A body in a format that is not read."""

    reason = "UnsupportedMediaType"


class Invalid(errors.InvalidInput):
    """Admission found faults in an object: ``what`` is as in ``Deployment.apps "web"``."""

    reason = "Invalid"

    def __init__(self, what: str, causes: Sequence[Cause]) -> None:
        faults = ", ".join(f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes)
        text = f"[{faults}]" if len(causes) > 1 else faults
        super().__init__(f"{what} is invalid: {text}", field=causes[0].field if causes else "")
        self.causes = tuple(causes)
        kind, _, name = what.partition(" ")
        self.kind, _, self.group = kind.partition(".")
        self.name = name.strip('"')


class ApplyConflict(errors.Conflict):
    """An apply would change fields that somebody else owns."""

    def __init__(self, message: str, causes: Sequence[Cause]) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class ListExpired(errors.Gone):
    """The next page of a list is of a state that is forgotten; ``continue_token`` goes on with what is there now."""

    def __init__(self, continue_token: str) -> None:
        super().__init__("The provided continue parameter is too old to display a consistent list result. You can "
                         "start a new list without the continue parameter, or use the continue token in this response "
                         "to retrieve the remainder of the results. Continuing with the provided token results in an "
                         "inconsistent list - objects that were created, modified, or deleted between the time the "
                         "first chunk was returned and now may show up in the list.")
        self.continue_token = continue_token
