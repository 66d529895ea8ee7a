"""Our errors as Kubernetes ``Status`` answers. Pure; ``server`` and ``watches`` call me."""

from __future__ import annotations

from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import errors as api_errors

JSON = "application/json"
"""Exactly this, with no charset: some clients read errors only from it."""

_CODES: tuple[tuple[type[errors.LightshipError], int], ...] = (
    (api_errors.DisruptionRefused, 429),
    (api_errors.MethodNotAllowed, 405), (api_errors.NotAcceptable, 406), (api_errors.UnsupportedMediaType, 415),
    (errors.TooLarge, 413), (errors.BadRequest, 400), (errors.InvalidInput, 422), (errors.Unauthenticated, 401),
    (errors.Forbidden, 403), (errors.NotFound, 404), (errors.Conflict, 409), (errors.Gone, 410),
    (errors.Unsupported, 501), (errors.DeadlineExceeded, 504), (errors.Unavailable, 503),
)


def code_of(error: errors.LightshipError) -> int:
    """The HTTP status that stands for ``error``."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 500)


def status_of(error: errors.LightshipError, **details: str) -> dict[str, Any]:
    """A ``Status`` object; ``details`` are of ``name``, ``group``, ``kind`` and ``uid``.

    Clients word an answer of reason Invalid by its details alone: they name the object, or are left out.
    """
    code = code_of(error)
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                              "message": str(error), "reason": error.reason, "code": code}
    if error.reason == "Invalid":
        details = {"name": error.name, "group": error.group, "kind": error.kind} if isinstance(
            error, api_errors.Invalid) else {}
    filled: dict[str, Any] = {key: value for key, value in details.items() if value}
    if isinstance(error, api_errors.Invalid):
        filled["causes"] = [{"reason": _reason(cause.message), "message": cause.message, "field": cause.field}
                            for cause in error.causes]
    elif isinstance(error, api_errors.ApplyConflict):
        filled["causes"] = [{"reason": "FieldManagerConflict", "message": cause.message, "field": cause.field}
                            for cause in error.causes]
    elif isinstance(error, api_errors.NamespaceTerminating):
        filled["causes"] = [{"reason": "NamespaceTerminating", "message": error.cause, "field": "metadata.namespace"}]
    elif isinstance(error, errors.DeadlineExceeded) and "resource version" in error.message:
        filled["causes"] = [{"reason": "ResourceVersionTooLarge", "message": error.message}]
    if isinstance(error, api_errors.DisruptionRefused):
        filled["causes"] = [{"reason": "DisruptionBudget", "message": error.cause}]
        if error.retry_after_seconds:
            filled["retryAfterSeconds"] = error.retry_after_seconds
    elif code in (429, 503):
        filled["retryAfterSeconds"] = 1
    if isinstance(error, api_errors.ListExpired):
        status["metadata"] = {"continue": error.continue_token}
    status["details"] = filled  # empty too: kubectl debug looks into it unasked
    return status


_REASONS = (("Required value", "FieldValueRequired"), ("Unsupported value", "FieldValueNotSupported"),
            ("Duplicate value", "FieldValueDuplicate"), ("Forbidden", "FieldValueForbidden"),
            ("Not found", "FieldValueNotFound"), ("Too long", "FieldValueTooLong"), ("Too many", "FieldValueTooMany"))


def _reason(message: str) -> str:
    """The machine-readable reason that a fault's text begins with the words of."""
    if "in body must be of type" in message:
        return "FieldValueTypeInvalid"
    return next((reason for words, reason in _REASONS if message.startswith(words)), "FieldValueInvalid")


def success(code: int = 200, **details: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
            "details": {key: value for key, value in details.items() if value}}


def response_of(error: errors.LightshipError, **details: str) -> Response:
    """The whole answer to a request that failed with ``error``."""
    status = status_of(error, **details)
    headers = {"content-type": JSON}
    if status["code"] == 401:
        headers["www-authenticate"] = 'Bearer realm="lightship"'
    if status["code"] == 503:
        headers["retry-after"] = "1"
    return Response(status=status["code"], headers=headers, body=msgspec.json.encode(status))
