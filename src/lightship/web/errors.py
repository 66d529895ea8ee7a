"""How our errors are said over HTTP: one map to status codes, and the error bodies of each API. Pure.

``application`` calls me for whatever a route raises. KFP's clients expect the shape of its gRPC gateway, the Model
Registry's its own; what is neither gets the registry's plain one.
"""

from __future__ import annotations

from typing import Any

from lightship import errors

_CODES: tuple[tuple[type[errors.LightshipError], int, int], ...] = (
    # Error, HTTP status, gRPC code; the first that fits counts, so branches stand before what they branch from.
    (errors.TooLarge, 413, 3),
    (errors.InvalidInput, 400, 3),
    (errors.Unauthenticated, 401, 16),
    (errors.Forbidden, 403, 7),
    (errors.NotFound, 404, 5),
    (errors.AlreadyExists, 409, 6),
    (errors.Conflict, 409, 9),
    (errors.Gone, 410, 9),
    (errors.Unsupported, 501, 12),
    (errors.DeadlineExceeded, 504, 4),
    (errors.Unavailable, 503, 14),
    (errors.LightshipError, 500, 13),
)

KFP_PREFIX = "/apis/"
REGISTRY_PREFIX = "/api/model_registry/"


_FAILED_PRECONDITION = 9


def status(error: errors.LightshipError, path: str = "") -> int:
    """The HTTP status of ``error`` on ``path``; KFP's gateway says 400 where a precondition fails."""
    http, grpc = _codes(error)
    return 400 if grpc == _FAILED_PRECONDITION and path.startswith(KFP_PREFIX) else http


def body(error: errors.LightshipError, path: str) -> dict[str, Any]:
    """The JSON body that the client of ``path`` expects."""
    http, grpc = _codes(error)
    message = str(error)
    if path.startswith(KFP_PREFIX):
        detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": grpc, "message": message}
        return {"error": message, "code": grpc, "message": message, "details": [detail]}
    return {"code": error.reason if not path.startswith(REGISTRY_PREFIX) else str(http), "message": message}


def _codes(error: errors.LightshipError) -> tuple[int, int]:
    return next((http, grpc) for kind, http, grpc in _CODES if isinstance(error, kind))
