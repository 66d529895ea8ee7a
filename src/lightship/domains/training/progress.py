"""Takes what a training reports of itself, by upstream's HTTP contract, into its TrainJob's status.

``composition`` puts ``Progress.answer`` at the API server's door, since upstream's path is that of the status: a POST
there, which Kubernetes has no use for, with a token of its own audience. I call ``client``. A report takes the place of
the one before; 200 with what was understood, 422 for what the TrainJob's schema refuses.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from lightship import errors
from lightship.client.client import Client
from lightship.client.transport import Request, Response
from lightship.domains.training import kinds
from lightship.kube import times
from lightship.kube.objects import Key
from lightship.kube.resources import TOKEN_REVIEWS

LIMIT_BODY_BYTES = 64 * 1024
_ROOT = f"/apis/{kinds.TRAIN_JOBS.api_version}/namespaces"
_PATH = re.compile(rf"{re.escape(_ROOT)}/([^/]+)/{kinds.TRAIN_JOBS.plural}/([^/]+)/status")
_HEADERS = {"content-type": "application/json"}


class _Metric(msgspec.Struct, omit_defaults=True):
    name: str = ""
    value: str = ""


class _TrainerStatus(msgspec.Struct, omit_defaults=True):
    progressPercentage: int | None = None
    estimatedRemainingSeconds: int | None = None
    metrics: list[_Metric] | None = None
    lastUpdatedTime: str | None = None


class _Report(msgspec.Struct, omit_defaults=True):
    trainerStatus: _TrainerStatus | None = None


def path(key: Key) -> str:
    """Where the TrainJob's reports go."""
    return f"{_ROOT}/{key.namespace}/{kinds.TRAIN_JOBS.plural}/{key.name}/status"


def audience(key: Key) -> str:
    """Whom the tokens are for: good for one TrainJob's reports, and for nothing else of the API."""
    return f"{kinds.TRAIN_JOBS.api_version}/namespaces/{key.namespace}/{kinds.TRAIN_JOBS.plural}/{key.name}/status"


def wanted(request: Request) -> Key | None:
    """The TrainJob that a request reports of; None for any other request."""
    match = _PATH.fullmatch(request.path) if request.method == "POST" else None
    return Key(match[1], match[2]) if match is not None else None


class Progress:
    """``client`` acts as the training controller, which may ask whose a token is."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def answer(self, request: Request) -> Response | None:
        """The answer to a report; None where the request is none."""
        key = wanted(request)
        if key is None:
            return None
        if not await self._may(request, key):
            return _refusal(403, "Forbidden", "Forbidden")
        if len(request.body) > LIMIT_BODY_BYTES:
            return _refusal(413, "RequestEntityTooLarge", "Payload too large")
        try:
            report = _read(request.body)
        except (msgspec.MsgspecError, errors.InvalidInput, UnicodeDecodeError):
            return _refusal(422, "Invalid", "Invalid payload")
        return await self._take(key, report)

    async def _take(self, key: Key, report: _Report) -> Response:
        if report.trainerStatus is not None:
            try:
                await self._client.patch(kinds.TRAIN_JOBS, key, {"status": {"trainerStatus": _whole(
                    report.trainerStatus)}}, subresource="status")
            except errors.NotFound:
                return _refusal(404, "NotFound", "Train job not found")
            except errors.InvalidInput as problem:
                return _refusal(422, "Invalid", problem.message)
        return Response(status=200, headers=_HEADERS, body=msgspec.json.encode(report))

    async def _may(self, request: Request, key: Key) -> bool:
        """Whether the token is for this TrainJob's reports, and of an account of its namespace."""
        words = request.headers.get("authorization", "").split()
        if len(words) != 2 or words[0].lower() != "bearer":
            return False
        review = await self._client.create(TOKEN_REVIEWS, {
            "apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": words[1], "audiences": [audience(key)]}})
        found = review.get("status") or {}
        user = str((found.get("user") or {}).get("username") or "")
        return bool(found.get("authenticated")) and user.startswith(f"system:serviceaccount:{key.namespace}:")


def _read(body: bytes) -> _Report:
    """The report, its time to the second and in UTC, as upstream keeps it. Raises our error or msgspec's."""
    report = msgspec.json.decode(body, type=_Report)
    status = report.trainerStatus
    if status is not None and status.lastUpdatedTime is not None:
        status.lastUpdatedTime = times.rfc3339(times.parse(status.lastUpdatedTime))
    return report


def _whole(status: _TrainerStatus) -> dict[str, Any]:
    """All fields, so that a merge overwrites: what was not reported goes."""
    fields: dict[str, Any] = msgspec.to_builtins(status)
    return {name: fields.get(name) for name in _TrainerStatus.__struct_fields__}


def _refusal(code: int, reason: str, message: str) -> Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code}
    return Response(status=code, headers=_HEADERS, body=msgspec.json.encode(body))
