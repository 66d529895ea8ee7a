"""Signed requests to one S3 endpoint, each tried again while the fault may pass. ``s3`` calls me.

Connections that fail, answers that break off, and what S3 says when it is busy (429, 5xx) are tried again with growing
pauses, half a minute in all, which outlasts a restart of MinIO. What S3 refuses is ``Refused``, with its own words.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple, TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

from . import sigv4
from .files import CHUNK_BYTES, StagingError, Stored

TRIES = 8
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 10.0
TIMEOUT_SECONDS = 60.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
DEFAULT_REGION = "us-east-1"

Query = Tuple[Tuple[str, str], ...]
Log = Callable[[str], None]
T = TypeVar("T")


class Refused(StagingError):
    """S3 answered, and said no."""

    def __init__(self, text: str, status: int, code: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class Answer(NamedTuple):
    """A whole answer; header names are in lower case."""

    headers: Dict[str, str]
    body: bytes


class Site(NamedTuple):
    """An endpoint (``http(s)://host[:port]``), and who asks it."""

    endpoint: str
    credentials: sigv4.Credentials
    region: str = DEFAULT_REGION
    ca_file: str = ""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signature holds for one place only."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Requests:
    """Everything that ``S3Store`` asks of its endpoint."""

    def __init__(self, site: Site, log: Log, sleep: Callable[[float], None] = time.sleep,
                 clock: Callable[[], float] = time.time) -> None:
        self._site = site
        self._parts = urlsplit(site.endpoint)
        self.log = log
        self._sleep = sleep
        self._clock = clock
        trust = ssl.create_default_context(cafile=site.ca_file or None)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust), _NoRedirects())

    def send(self, method: str, bucket: str, key: str = "", *, query: Query = (),
             body: Optional[bytes] = None) -> Answer:
        """One request and its whole answer. Raises ``Refused``, and ``StagingError`` when all tries failed."""
        def act() -> Answer:
            with self._open(method, bucket, key, query, body) as answer:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                _check_head(answer.status, headers, "etag" if method == "PUT" else "")
                data = b"" if method == "HEAD" else _whole(answer, headers)
                return Answer(headers, data)

        return self._tried(act, "%s/%s" % (bucket, key))

    def size(self, bucket: str, key: str) -> int:
        """The bytes of an object."""
        return int(self.send("HEAD", bucket, key).headers["content-length"])

    def download(self, bucket: str, key: str, destination: str) -> Stored:
        """Copy an object to a new file, with its digest."""
        return self._tried(lambda: self._download(bucket, key, destination), "%s/%s" % (bucket, key))

    def _download(self, bucket: str, key: str, destination: str) -> Stored:
        digest, size = hashlib.sha256(), 0
        with self._open("GET", bucket, key, (), None) as answer:
            _check_head(answer.status, {name.lower(): value for name, value in answer.headers.items()}, "")
            expected = int(answer.headers.get("Content-Length", -1))
            with open(destination, "wb") as writer:
                while True:
                    chunk = _read(answer)
                    if not chunk:
                        break
                    digest.update(chunk)
                    size += len(chunk)
                    writer.write(chunk)
        if size != expected >= 0:
            raise _Passing("the answer broke off after %d of %d bytes" % (size, expected))
        return Stored("sha256:" + digest.hexdigest(), size)

    def _open(self, method: str, bucket: str, key: str, query: Query, body: Optional[bytes]) -> Any:
        if body is None and method in ("PUT", "POST"):
            body = b""
        path = self._parts.path.rstrip("/") + sigv4.encoded_path(bucket, key)
        sum_ = hashlib.sha256(body).hexdigest() if body else sigv4.EMPTY_SHA256
        signed: Dict[str, str] = {}  # without keys, for what is public
        if self._site.credentials.access_key:
            signed = sigv4.headers(sigv4.Request(method, self._parts.netloc, path, query, sum_),
                                   self._site.credentials, self._site.region, self._clock())
        url = "%s://%s%s" % (self._parts.scheme, self._parts.netloc, path)
        if query:
            url += "?" + sigv4.encoded_query(query)
        if body is not None:
            signed["content-type"] = "application/octet-stream"
        request = urllib.request.Request(url, data=body, method=method, headers=signed)
        try:
            return self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as cause:
            with cause:
                raise _refusal(cause, bucket, key) from cause
        except (OSError, http.client.HTTPException) as cause:
            reason = getattr(cause, "reason", None) or cause
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise StagingError('the certificate of "%s" is not trusted: %s. Name its authority in AWS_CA_BUNDLE'
                                   % (self._site.endpoint, reason)) from cause
            raise _Passing(str(reason) or type(cause).__name__) from cause

    def _tried(self, act: Callable[[], T], what: str) -> T:
        pause = FIRST_PAUSE_SECONDS
        for left in range(TRIES - 1, -1, -1):
            try:
                return act()
            except _Passing as cause:
                if not left:
                    raise StagingError('the artifact store at "%s" failed %d times for "%s": %s'
                                       % (self._site.endpoint, TRIES, what, cause)) from cause
                self.log('the artifact store failed for "%s" (%s); trying again in %.1f s' % (what, cause, pause))
            # Pods that failed together do not come back together.
            self._sleep(pause * random.uniform(0.75, 1.0))
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        raise AssertionError("unreachable")


class _Passing(Exception):
    """A fault that may be over with the next try."""


def _check_head(status: int, headers: Mapping[str, str], needed: str) -> None:
    """A connection that is cut within the headers looks like an answer with fewer of them, and perhaps no body."""
    framed = "content-length" in headers or "transfer-encoding" in headers or status == 204
    if not framed or needed not in ("", *headers):
        raise _Passing("the answer broke off in its head")


def _whole(answer: Any, headers: Mapping[str, str]) -> bytes:
    pieces, size = [], 0
    while True:
        piece = _read(answer)
        if not piece:
            break
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise StagingError("the artifact store answered with more than %d bytes" % MAX_ANSWER_BYTES)
        pieces.append(piece)
    if size != int(headers.get("content-length", size)):
        raise _Passing("the answer broke off after %d bytes" % size)
    return b"".join(pieces)


def _read(answer: Any) -> bytes:
    try:
        return bytes(answer.read(CHUNK_BYTES))
    except (OSError, http.client.HTTPException) as cause:
        raise _Passing(str(cause) or type(cause).__name__) from cause


def _refusal(cause: urllib.error.HTTPError, bucket: str, key: str) -> Exception:
    try:
        found = parse_xml(cause.read(MAX_ANSWER_BYTES))
        code, message = text_of(found, "Code"), text_of(found, "Message")
    except (StagingError, OSError, http.client.HTTPException):
        code, message = "", ""  # such as of HEAD, which has no body, or of a proxy
    if cause.code == 429 or cause.code >= 500 or code == "RequestTimeout":
        return _Passing("%d %s" % (cause.code, message or code or cause.reason))
    text = 'the artifact store refuses "%s/%s": %d %s %s' % (bucket, key, cause.code, code, message)
    region = cause.headers.get("x-amz-bucket-region")
    if region and (300 <= cause.code < 400 or code == "AuthorizationHeaderMalformed"):
        text += ". The bucket is in the region %s: say so in AWS_REGION" % region
    elif cause.code == 403:
        text += ". Look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do there"
    elif code == "NoSuchBucket":
        text += ". Make the bucket, or name another in the pipeline's root"
    return Refused(text.strip(), cause.code, code)


def parse_xml(data: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as cause:
        raise StagingError("the artifact store did not answer as S3 does: %s" % cause) from cause


def tag_of(element: ElementTree.Element) -> str:
    """The element's name without its namespace, which not every server sends."""
    return element.tag.rpartition("}")[2]


def text_of(found: ElementTree.Element, name: str) -> str:
    """The text of the first element of that name, or an empty string."""
    return next((element.text or "" for element in found.iter() if tag_of(element) == name), "")


def site(endpoint: str, environment: Mapping[str, str]) -> Site:
    """The endpoint with the keys of the environment, or without any where that says ``AWS_ANONYMOUS``.

    Raises ``StagingError`` where one is missing.
    """
    access, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    if (not access or not secret) and environment.get("AWS_ANONYMOUS") != "true":
        raise StagingError("the artifact store at \"%s\" needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                           % endpoint)
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise StagingError("\"%s\" is not an S3 endpoint, such as https://minio:9000" % endpoint)
    return Site(
        endpoint=endpoint.rstrip("/"), ca_file=environment.get("AWS_CA_BUNDLE", ""),
        credentials=sigv4.Credentials(access, secret, environment.get("AWS_SESSION_TOKEN", "")),
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION)
