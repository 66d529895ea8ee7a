"""Request bodies: bounded while they come in, JSON or a single uploaded file. Routes call me."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive

from lightship import errors

JSON_LIMIT_BYTES = 16 * 1024 * 1024
UPLOAD_LIMIT_BYTES = 32 * 1024 * 1024
FORM_FIELDS_LIMIT = 20


async def read(request: Request, limit_bytes: int = JSON_LIMIT_BYTES) -> bytes:
    """The whole body. Raises ``errors.TooLarge`` as soon as it is longer than the limit."""
    _check_declared(request, limit_bytes)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        parts.append(part)
    return b"".join(parts)


async def json_object(request: Request, limit_bytes: int = JSON_LIMIT_BYTES) -> dict[str, Any]:
    """A JSON object; no body is an empty one. Raises ``errors.BadRequest``."""
    data = await read(request, limit_bytes)
    if not data.strip():
        return {}
    try:
        decoded: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise errors.BadRequest(f"the request body is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise errors.BadRequest("the request body is not a JSON object")
    return decoded


async def uploaded(request: Request, field: str, limit_bytes: int = UPLOAD_LIMIT_BYTES) -> tuple[str, bytes]:
    """The name and content of the one file in a multipart form. Raises ``errors.BadRequest`` or ``TooLarge``."""
    _check_declared(request, limit_bytes)
    bounded = Request(request.scope, _bounded(request.receive, limit_bytes))
    try:
        async with bounded.form(max_files=1, max_fields=FORM_FIELDS_LIMIT) as form:
            file = form.get(field)
            if not isinstance(file, UploadFile):
                raise errors.BadRequest(f'the form has no file "{field}"', remedy="Send multipart/form-data with it")
            return file.filename or "", await file.read()
    except MultiPartException as error:
        raise errors.BadRequest(f"the form cannot be read: {error.message}") from error


def _check_declared(request: Request, limit_bytes: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)


def _bounded(receive: Receive, limit_bytes: int) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        return message

    return counted


def _too_large(limit_bytes: int) -> errors.TooLarge:
    return errors.TooLarge(f"the request body has more than {limit_bytes} bytes")
