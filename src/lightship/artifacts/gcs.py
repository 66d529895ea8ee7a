"""Google Cloud Storage by its JSON API, as ``remote.Objects``. ``routing`` makes me; ``gcs_tokens`` says who asks.

Large files go up resumably, in parts, so that a lost connection costs one part. What may pass (429, 5xx, connections
that fail) is tried again with growing pauses, half a minute in all.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from lightship.artifacts.gcs_tokens import Tokens
from lightship.artifacts.remote import CHUNK_BYTES, Listed, NoSuchObject, RefusedObject
from lightship.launcher.files import StagingError, Stored, open_file

T = TypeVar("T")
ENDPOINT = "https://storage.googleapis.com"
PART_BYTES = 16 << 20
"""A multiple of 256 KiB, as resumable uploads want it."""
PAGE_OBJECTS = 1000
TRIES = 8
FIRST_PAUSE_SECONDS = 0.5
LIMIT_PAUSE_SECONDS = 10.0
LIMIT_REQUEST_SECONDS = 60.0
LIMIT_ANSWER_BYTES = 16 << 20
_MORE = 308
"""The status of a resumable upload that waits for its next part."""


class GcsObjects:
    """One endpoint with one identity."""

    def __init__(self, tokens: Tokens, endpoint: str = ENDPOINT, *, part_bytes: int = PART_BYTES,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self._tokens = tokens
        self._endpoint = endpoint.rstrip("/")
        self._part_bytes = part_bytes
        self._sleep = sleep
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context()), _Answers())

    def about(self, bucket: str, key: str) -> Listed:
        return _listed(key, self._json("GET", _object(bucket, key)))

    def download(self, bucket: str, key: str, destination: str) -> Stored:
        return self._tried(f"{bucket}/{key}", lambda: self._download(bucket, key, destination))

    def upload(self, bucket: str, key: str, source: str) -> Stored:
        with open_file(source) as reader:
            first = reader.read(self._part_bytes)
            digest, size = hashlib.sha256(first), len(first)
            if size < self._part_bytes:
                self.write(bucket, key, first)
                return Stored(f"sha256:{digest.hexdigest()}", size)
            session = self._begin(bucket, key)
            part, start = first, 0
            while part:
                following = reader.read(self._part_bytes)
                try:
                    self._part(session, part, start, last=not following)
                except NoSuchObject:
                    # The answer to the last part may have been lost: the session has ended, and the object is there.
                    if following or self.about(bucket, key).size_bytes != start + len(part):
                        raise
                start += len(part)
                digest.update(following)
                part = following
        return Stored(f"sha256:{digest.hexdigest()}", start)

    def write(self, bucket: str, key: str, data: bytes) -> None:
        # With its name in a part of its own, as Google's client sends it, so that an empty file has a body, too.
        boundary = hashlib.sha256(data).hexdigest()
        head = (f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
                f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n")
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        url = self._url(f"/upload/storage/v1/b/{quote(bucket, safe='')}/o", {"uploadType": "multipart"})
        kind = {"Content-Type": f'multipart/related; boundary="{boundary}"'}

        def act() -> None:
            with self._open("POST", url, body, kind):
                return

        self._tried(f"{bucket}/{key}", act)

    def below(self, bucket: str, prefix: str, limit: int) -> Iterator[Listed]:
        token, left = "", limit
        while left > 0:
            query = {"prefix": prefix, "maxResults": str(min(left, PAGE_OBJECTS)),
                     "fields": "items(name,size,generation),nextPageToken"} | ({"pageToken": token} if token else {})
            page = self._json("GET", f"/storage/v1/b/{quote(bucket, safe='')}/o", query)
            for item in page.get("items") or []:
                left -= 1
                name = str(item["name"])[len(prefix):]
                if name and not name.endswith("/"):
                    yield _listed(name, item)
            token = str(page.get("nextPageToken") or "")
            if not token:
                return

    def delete(self, bucket: str, key: str) -> None:
        try:
            self._json("DELETE", _object(bucket, key))
        except NoSuchObject:
            return

    # One request.

    def _json(self, method: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            with self._open(method, self._url(path, query), None) as answer:
                data = answer.read(LIMIT_ANSWER_BYTES)
            try:
                found = json.loads(data) if data or method == "GET" else {}
            except ValueError as cause:
                raise _Passing(f"the answer broke off after {len(data)} bytes") from cause
            return found if isinstance(found, dict) else {}

        return self._tried(path, act)

    def _download(self, bucket: str, key: str, destination: str) -> Stored:
        digest, size = hashlib.sha256(), 0
        with self._open("GET", self._url(_object(bucket, key), {"alt": "media"}), None) as answer:
            expected = int(answer.headers.get("Content-Length", -1))
            if expected < 0 and answer.headers.get("Transfer-Encoding") != "chunked":
                raise _Passing("the answer broke off in its head")
            with Path(destination).open("wb") as writer:
                while chunk := answer.read(CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    writer.write(chunk)
        if size != expected >= 0:
            raise _Passing(f"the answer broke off after {size} of {expected} bytes")
        return Stored(f"sha256:{digest.hexdigest()}", size)

    def _begin(self, bucket: str, key: str) -> str:
        """The address of a resumable upload."""
        url = self._url(f"/upload/storage/v1/b/{quote(bucket, safe='')}/o", {"uploadType": "resumable", "name": key})

        def act() -> str:
            with self._open("POST", url, b"") as answer:
                if not answer.headers.get("Location"):
                    raise _Passing("the answer broke off in its head")
                return str(answer.headers["Location"])

        return self._tried(f"{bucket}/{key}", act)

    def _part(self, session: str, part: bytes, start: int, *, last: bool) -> None:
        end = start + len(part)
        ask = {"Content-Range": f"bytes {start}-{end - 1}/{end if last else '*'}"}

        def act() -> None:
            with self._open("PUT", session, part, ask) as answer:
                if answer.status == _MORE and answer.headers.get("Range") != f"bytes=0-{end - 1}":
                    raise _Passing("a part was kept in part")  # sent again, what is there already is passed over

        self._tried(session.partition("?")[0], act)

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self._endpoint}{path}" + (f"?{urlencode(query)}" if query else "")

    def _open(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(url, data=body, method=method, headers={
            "Content-Type": "application/octet-stream", **(headers or {}), **self._tokens.headers()})
        try:
            return self._opener.open(request, timeout=LIMIT_REQUEST_SECONDS)
        except urllib.error.HTTPError as cause:
            with cause:
                raise _refusal(cause, url.partition("?")[0]) from cause
        except (OSError, http.client.HTTPException) as cause:
            raise _Passing(str(getattr(cause, "reason", None) or cause) or type(cause).__name__) from cause

    def _tried(self, what: str, act: Callable[[], T]) -> T:
        pause = FIRST_PAUSE_SECONDS
        for left in range(TRIES - 1, -1, -1):
            try:
                return act()
            except (_Passing, http.client.HTTPException, ConnectionError, TimeoutError) as cause:
                if not left:
                    raise StagingError(f'Google Cloud Storage failed {TRIES} times for "{what}": {cause}') from cause
            self._sleep(pause * random.uniform(0.75, 1.0))
            pause = min(pause * 2, LIMIT_PAUSE_SECONDS)
        raise AssertionError("unreachable")


def _listed(name: str, item: Mapping[str, Any]) -> Listed:
    generation = item.get("generation")
    return Listed(name=name, size_bytes=int(item.get("size") or 0),
                  version=f"generation:{generation}" if generation else "")


class _Passing(Exception):
    """A fault that may be over with the next try."""


class _Answers(urllib.request.HTTPErrorProcessor):
    """Takes 308 for what it is here: an answer, and no redirection."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response if response.status == _MORE else super().http_response(request, response)

    https_response = http_response


def _object(bucket: str, key: str) -> str:
    return f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(key, safe='')}"


def _refusal(cause: urllib.error.HTTPError, place: str) -> Exception:
    if cause.code in (408, 429) or cause.code >= 500:
        return _Passing(f"{cause.code} {cause.reason}")
    text = f'Google Cloud Storage refuses "{place}": {cause.code} {cause.reason}'
    try:
        said = json.loads(cause.read(LIMIT_ANSWER_BYTES))["error"]["message"]
        text = f"{text}: {said}"
    except (ValueError, KeyError, TypeError, OSError):
        text = f"{text}"  # a proxy's answer, or none
    return NoSuchObject(text) if cause.code == 404 else RefusedObject(text)
