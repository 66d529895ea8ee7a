"""Hugging Face's hub, as far as it takes to read a repository: its files, and each one's content, by plain HTTPS.

The initializers of trainings and of models make one of me for a fetch. Which hub is asked is the platform's own matter
(``HF_ENDPOINT`` where it was started), never a Pod's: this is the server's process, and it reaches what no Pod does.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from lightship import errors
from lightship.artifacts.store import Entry

ENDPOINT = "https://huggingface.co"
LIMIT_WAIT_SECONDS = 30.0
LIMIT_ANSWER_BYTES = 32 << 20
LIMIT_PAGES = 200
CHUNK_BYTES = 1 << 20
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?\Z")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,250}\Z")
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class Hub:
    """One repository, of ``datasets`` or ``models``, at a revision (a branch, a tag or a commit)."""

    def __init__(self, kind: str, repository: str, token: str = "", *, revision: str = "main") -> None:
        if not _REPOSITORY.match(repository):
            raise errors.InvalidInput(f'"{repository}" is no repository of the hub', remedy="Write hf://OWNER/NAME")
        if not _REVISION.match(revision):
            raise errors.InvalidInput(f'"{revision}" is no revision of a repository',
                                      remedy="Name a branch, a tag or a commit")
        self._endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT
        self._token = token
        self._repository = repository
        at = quote(revision, safe="")
        self._tree = f"{self._endpoint}/api/{kind}/{repository}/tree/{at}?recursive=true"
        self._files = f"{self._endpoint}/{'datasets/' if kind == 'datasets' else ''}{repository}/resolve/{at}/"
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=ssl.create_default_context()),
                                                   _Redirects())

    async def files(self, limit: int) -> Sequence[Entry]:
        """Its files, at most ``limit`` of them, with URIs below ``hf://REPOSITORY/``."""
        found: list[Entry] = []
        page: str | None = self._tree
        for _ in range(LIMIT_PAGES):
            if page is None or len(found) >= limit:
                break
            items, page = await asyncio.to_thread(self._page, page)
            found += [Entry(uri=f"hf://{self._repository}/{item['path']}", size_bytes=int(item.get("size") or 0),
                            version=_version(item))
                      for item in items if item.get("type") == "file"]
        return found[:limit]

    async def stream(self, uri: str) -> tuple[int, AsyncIterator[bytes]]:
        """A file's size and content."""
        path = uri.removeprefix(f"hf://{self._repository}/")
        answer = await asyncio.to_thread(self._open, self._files + quote(path))
        return int(answer.headers.get("Content-Length") or 0), self._chunks(answer)

    async def _chunks(self, answer: Any) -> AsyncIterator[bytes]:
        with answer:
            try:
                while chunk := await asyncio.to_thread(answer.read, CHUNK_BYTES):
                    yield chunk
            except OSError as cause:
                raise self._away(cause) from cause

    def _page(self, url: str) -> tuple[list[dict[str, Any]], str | None]:
        with self._open(url) as answer:
            following = _NEXT.search(answer.headers.get("Link") or "")
            try:
                items = json.loads(answer.read(LIMIT_ANSWER_BYTES))
            except ValueError as cause:
                raise errors.Unavailable(f"{self._endpoint} gave an answer that is no list of files") from cause
        if not isinstance(items, list):
            raise errors.Unavailable(f"{self._endpoint} gave an answer that is no list of files")
        return items, following[1] if following is not None else None

    def _open(self, url: str) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token and _same(url, self._endpoint) else {}
        request = urllib.request.Request(url, headers=headers)
        try:
            return self._opener.open(request, timeout=LIMIT_WAIT_SECONDS)
        except urllib.error.HTTPError as cause:
            cause.close()
            if cause.code in (401, 403, 404):
                raise errors.NotFound(
                    f"{self._endpoint} does not show {self._repository} ({cause.code})",
                    remedy="Check the name; a private or gated repository needs HF_TOKEN in the initializer's Secret"
                ) from cause
            raise errors.Unavailable(f"{self._endpoint} answered {cause.code} for {self._repository}") from cause
        except OSError as cause:
            raise self._away(cause) from cause

    def _away(self, cause: OSError) -> errors.Unavailable:
        return errors.Unavailable(
            f"{self._endpoint} cannot be reached from this machine: {cause}",
            remedy="Put the files into a bucket and name that, or start the platform with HF_ENDPOINT at a mirror")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To where content lies, and without the token where that is elsewhere."""

    def redirect_request(self, req: urllib.request.Request, *told: Any) -> urllib.request.Request | None:
        fp, code, _, headers, newurl = told
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.HTTPError(newurl, code, "a redirect away from HTTPS", headers, fp)
        made = super().redirect_request(req, *told)
        if made is not None and not _same(newurl, req.full_url):
            made.remove_header("Authorization")
        return made


def _version(item: dict[str, Any]) -> str:
    """Large files are named by the SHA-256 of their content, others by git's name of it."""
    large = item.get("lfs")
    if isinstance(large, dict) and large.get("oid"):
        return f"sha256:{large['oid']}"
    return f"oid:{item['oid']}" if item.get("oid") else ""


def _same(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]
