"""Files on web servers as a ``Source``: plain GETs that go on where they broke off, and go nowhere they may not.

The storage initializer makes me, in the node's process, which reaches what no Pod does. So whoever is not trusted with
this machine gets no connection to its loopback and link-local addresses: names are resolved here, looked at, and the
address that was looked at is the one that is connected to, at every redirect again.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lightship import errors
from lightship.artifacts.sources import PART, Found, Limits, settle

LIMIT_WAIT_SECONDS = 30.0
LIMIT_ANSWER_BYTES = 16 << 20
TRIES = 4
CHUNK_BYTES = 1 << 20
_NO_HEAD = frozenset({400, 403, 405, 501})
"""What servers say that do not take HEAD, or not with the signature in the URL."""
_RANGE = re.compile(r"bytes (\d+)-")


class Web:
    """Who asks: ``anywhere`` whether this machine's own addresses may be asked too."""

    def __init__(self, *, anywhere: bool, ca_file: str = "") -> None:
        connect = socket.create_connection if anywhere else _connect_outside

        class Plain(http.client.HTTPConnection):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                super().__init__(*arguments, **named)
                self._create_connection = connect

        class Secure(http.client.HTTPSConnection):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                super().__init__(*arguments, **named)
                self._create_connection = connect

        trust = ssl.create_default_context(cafile=ca_file or None)

        class PlainHandler(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Plain, req)

        class SecureHandler(urllib.request.HTTPSHandler):
            def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Secure, req, context=trust)

        self._opener = urllib.request.build_opener(PlainHandler(), SecureHandler(context=trust), _Redirects())

    def open(self, request: urllib.request.Request) -> Any:
        """An answer with a status below 300; raises ``urllib.error.HTTPError`` and ``OSError``."""
        return self._opener.open(request, timeout=LIMIT_WAIT_SECONDS)

    def json(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """What a server says as JSON. Raises ``errors.NotFound`` and ``errors.Unavailable``."""
        try:
            with self.open(urllib.request.Request(url, headers=dict(headers or {}))) as answer:
                return json.loads(answer.read(LIMIT_ANSWER_BYTES))
        except urllib.error.HTTPError as cause:
            cause.close()
            if cause.code == 404:
                raise errors.NotFound(f"{url} is not there") from cause
            raise errors.Unavailable(f"{url} answered {cause.code}") from cause
        except (OSError, http.client.HTTPException, ValueError) as cause:
            raise errors.Unavailable(f"{url} cannot be read: {cause}") from cause


class WebFile:
    """A ``Source`` of one file at an ``http://`` or ``https://`` URL."""

    def __init__(self, url: str, web: Web, headers: Mapping[str, str], limits: Limits) -> None:
        self._url = url
        self._web = web
        self._headers = dict(headers)
        self._limits = limits
        self._name = unquote(urlsplit(url).path.rpartition("/")[2])
        if not self._name or self._name in (".", "..") or "/" in self._name or "\0" in self._name:
            raise errors.InvalidInput(f"{self.uri} names no file", remedy="Let the URL's path end with the file's name")
        self._etag = ""

    @property
    def uri(self) -> str:
        """Without what a URL may hold of secrets."""
        parts = urlsplit(self._url)
        host = parts.netloc.rpartition("@")[2]
        text = f"{parts.scheme}://{host}{parts.path}"
        # Another query is another thing; what it says (such as a signature) is nobody's business.
        return text if not parts.query else f"{text}?{hashlib.sha256(parts.query.encode()).hexdigest()[:16]}"

    async def look(self) -> Found:
        headers = await asyncio.to_thread(self._head)
        size = int(headers.get("content-length") or 0)
        if size > self._limits.size_bytes:
            raise errors.TooLarge(f"{self.uri} has {size} bytes; at most {self._limits.size_bytes} are fetched")
        self._etag = headers.get("etag") or ""
        dated = f"{headers['last-modified']} {size}" if headers.get("last-modified") and size else ""
        return Found(version=self._etag or dated, size_bytes=size)

    async def fill(self, folder: Path) -> None:
        await asyncio.to_thread(self._fetch, folder / self._name)

    def _head(self) -> dict[str, str]:
        for method in ("HEAD", "GET"):
            try:
                with self._web.open(urllib.request.Request(self._url, method=method, headers=self._headers)) as answer:
                    return {name.lower(): value for name, value in answer.headers.items()}
            except urllib.error.HTTPError as cause:
                cause.close()
                if method == "HEAD" and cause.code in _NO_HEAD:
                    continue
                raise self._refused(cause) from cause
            except (OSError, http.client.HTTPException, ValueError) as cause:
                raise self._away(cause) from cause
        raise AssertionError("GET returns or raises")

    def _fetch(self, target: Path) -> None:
        if target.is_file():
            return  # an earlier try ended after the download
        part = target.with_name(target.name + PART)
        for left in range(TRIES - 1, -1, -1):
            try:
                self._download(part)
                break
            except urllib.error.HTTPError as cause:
                cause.close()
                if cause.code == 416:
                    part.unlink(missing_ok=True)  # what is there is more than the server has
                if not left or (cause.code < 500 and cause.code != 416):
                    raise self._refused(cause) from cause
            except _PASSING as cause:
                if not left or isinstance(getattr(cause, "reason", None), errors.Forbidden):
                    raise self._away(cause) from cause
        settle(part, target)

    def _download(self, part: Path) -> None:
        """One try, from where the last one ended. Raises ``_BrokeOff`` where the answer ended early."""
        have = part.stat().st_size if part.is_file() else 0
        headers = dict(self._headers)
        # Only a strong validator says that the bytes there are the beginning of the bytes to come.
        if have and self._etag and not self._etag.startswith("W/"):
            headers |= {"Range": f"bytes={have}-", "If-Range": self._etag}
        with self._web.open(urllib.request.Request(self._url, headers=headers)) as answer:
            if self._etag and answer.headers.get("ETag", self._etag) != self._etag:
                part.unlink(missing_ok=True)
                raise errors.Unavailable(f"{self.uri} was changed while it was fetched",
                                         remedy="It is tried again when the Pod is")
            begins = _RANGE.match(answer.headers.get("Content-Range") or "") if answer.status == 206 else None
            start = int(begins[1]) if begins is not None else 0
            if start not in (0, have):
                raise _BrokeOff(f"it began at {start}, where {have} was asked for")
            told = answer.headers.get("Content-Length")
            size = start
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                while chunk := answer.read(CHUNK_BYTES):
                    size += len(chunk)
                    if size > self._limits.size_bytes:
                        raise errors.TooLarge(f"{self.uri} has more than {self._limits.size_bytes} bytes")
                    file.write(chunk)
            if told is not None and size != start + int(told):
                raise _BrokeOff(f"it broke off after {size} of {start + int(told)} bytes")

    def _refused(self, cause: urllib.error.HTTPError) -> errors.LightshipError:
        if cause.code in (401, 403):
            return errors.Forbidden(f"{self.uri} is not shown without its keys ({cause.code})",
                                    remedy="Name the host and its headers in a Secret with https-host and headers, and "
                                           "that in the secrets of the ServiceAccount")
        if cause.code in (404, 410):
            return errors.NotFound(f"nothing lies at {self.uri} ({cause.code})", remedy="Check the URL")
        return errors.Unavailable(f"{self.uri} answered {cause.code} {cause.reason}")

    def _away(self, cause: Exception) -> errors.LightshipError:
        reason = getattr(cause, "reason", None) or cause
        if isinstance(reason, errors.LightshipError):
            return reason
        return errors.Unavailable(f"{self.uri} cannot be fetched: {reason}",
                                  remedy="Check that this machine reaches the host")


class _BrokeOff(Exception):
    """The answer was not whole."""


_PASSING = (_BrokeOff, http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To where a file lies, and without the keys where that is another host."""

    def redirect_request(self, req: urllib.request.Request, *told: Any) -> urllib.request.Request | None:
        fp, code, _, headers, newurl = told
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(newurl, code, "a redirect to something else than the web", headers, fp)
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.HTTPError(newurl, code, "a redirect away from HTTPS", headers, fp)
        made = super().redirect_request(req, *told)
        if made is not None:
            same = urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]
            made.headers = {name: value for name, value in made.headers.items() if same or name == "Range"}
            made.method = req.get_method()
        return made


def require_outside(host: str, port: int) -> None:
    """Raises ``errors.Forbidden`` where a host is this machine, and ``errors.Unavailable`` for no host."""
    _addresses(host, port)


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    import ipaddress

    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as cause:
        raise errors.Unavailable(f'the host "{host}" is not known here: {cause}') from cause
    for *_, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast:
            raise errors.Forbidden(
                f'"{host}" is an address of this machine itself, which this namespace may not have asked',
                remedy="Name the namespace in --cloud-namespaces if it is to be trusted with this machine")
    return found


def _connect_outside(address: tuple[str, int], timeout: Any = None, source_address: Any = None,
                     **_: Any) -> socket.socket:
    problem: OSError = OSError("no address")
    try:
        places = _addresses(*address)
    except errors.LightshipError as refusal:
        raise urllib.error.URLError(refusal) from refusal
    for family, kind, protocol, _name, place in places:
        made = socket.socket(family, kind, protocol)
        try:
            if isinstance(timeout, int | float):
                made.settimeout(timeout)
            made.connect(place)
            return made
        except OSError as cause:
            made.close()
            problem = cause
    raise problem
