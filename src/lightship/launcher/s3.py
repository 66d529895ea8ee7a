"""Artifacts in S3, MinIO or what speaks like them: a ``stores.Store`` over HTTP requests of ``s3_requests``.

``places.open_store`` makes me. ``minio://bucket/key`` and ``s3://bucket/key`` are the object ``key`` of ``bucket`` at
one endpoint; a folder is the objects below ``key/``, and an empty one is the object ``key/`` itself, of no bytes. The
server's own store has the same layout. Files go up in parts of bounded size, so that no file has to fit in memory, and
each part with its digest, which the server checks.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Callable, Dict, Iterator, List, Tuple, TypeVar
from xml.sax.saxutils import escape

from .files import CHUNK_BYTES, MAX_TREE_FILES, StagingError, Stored, files_under, make_folders, open_file, tree_digest
from .s3_requests import Refused, Requests, parse_xml, tag_of, text_of

T = TypeVar("T")

SCHEMES = ("minio", "s3")
PART_BYTES = 16 * 1024 * 1024
MAX_PARTS = 10_000
LISTED_AT_ONCE = 1000
FILES_AT_ONCE = 8
MAX_KEY_BYTES = 1024


class S3Store:
    """One endpoint. Every method blocks; ``StagingError`` says what went wrong where."""

    def __init__(self, requests: Requests, part_bytes: int = PART_BYTES, listed_at_once: int = LISTED_AT_ONCE) -> None:
        self._requests = requests
        self._part_bytes = part_bytes
        self._listed_at_once = listed_at_once

    def handles(self, uri: str) -> bool:
        return uri.partition("://")[0] in SCHEMES

    def fetch(self, uri: str, destination: str) -> None:
        bucket, key = parse(uri)
        try:
            self._download(bucket, key, destination)
            return
        except Refused as cause:
            if cause.status != 404 or cause.code == "NoSuchBucket":
                raise
        found = list(self._below(bucket, key + "/"))
        if not found:
            raise StagingError('there is nothing at "%s"' % uri)
        make_folders(destination)
        files = []
        for relative in found:
            if relative.endswith("/") or not relative:
                continue  # a folder's own mark
            if any(part in ("", ".", "..") or "\0" in part for part in relative.split("/")):
                raise StagingError('"%s" holds "%s", which is not the path of a file' % (uri, relative))
            make_folders(os.path.dirname(os.path.join(destination, relative)))
            files.append(relative)
        _side_by_side(lambda relative: self._download(
            bucket, key + "/" + relative, os.path.join(destination, relative)), files)

    def put(self, uri: str, source: str) -> Stored:
        bucket, key = parse(uri)
        if not os.path.isdir(source):
            return self._upload(bucket, key, source)
        files = dict(files_under(os.path.realpath(source)))
        for relative in files:
            _check_key(key + "/" + relative)
        before = set(self._below(bucket, key + "/"))
        kept = _side_by_side(lambda relative: self._upload(bucket, key + "/" + relative, files[relative]), list(files))
        if not files:
            self._requests.send("PUT", bucket, key + "/")
        # Only what another try left: every attempt of a step has a folder of its own.
        for relative in sorted(before - (set(files) or {""})):
            self._requests.send("DELETE", bucket, key + "/" + relative)
        return tree_digest(kept)

    def write(self, uri: str, data: bytes) -> None:
        bucket, key = parse(uri)
        self._requests.send("PUT", bucket, key, body=data)

    def _upload(self, bucket: str, key: str, source: str) -> Stored:
        with open_file(source) as reader:
            size = os.fstat(reader.fileno()).st_size
            part_bytes = max(self._part_bytes, -(-size // MAX_PARTS))
            first = _read(reader, part_bytes)
            if len(first) < part_bytes:
                self._requests.send("PUT", bucket, key, body=first)
                return Stored("sha256:" + hashlib.sha256(first).hexdigest(), len(first))
            upload = _Upload(self._requests, bucket, key)
            try:
                digest = hashlib.sha256()
                part, total = first, 0
                while part:
                    digest.update(part)
                    total += len(part)
                    upload.add(part)
                    part = _read(reader, part_bytes)
                upload.complete(total)
            except BaseException:
                upload.abort()
                raise
        return Stored("sha256:" + digest.hexdigest(), total)

    def _download(self, bucket: str, key: str, destination: str) -> None:
        self._requests.download(bucket, key, destination)

    def _below(self, bucket: str, prefix: str) -> Iterator[str]:
        """The keys below ``prefix``, without it."""
        token, count = "", 0
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("max-keys", str(self._listed_at_once))]
            query += [("continuation-token", token)] if token else []
            listing = parse_xml(self._requests.send("GET", bucket, query=tuple(query)).body)
            for element in listing.iter():
                if tag_of(element) == "Key":
                    count += 1
                    if count > MAX_TREE_FILES:
                        raise StagingError('"%s/%s" holds more than %d files' % (bucket, prefix, MAX_TREE_FILES))
                    yield (element.text or "")[len(prefix):]
            token = text_of(listing, "NextContinuationToken") if text_of(listing, "IsTruncated") == "true" else ""
            if not token:
                return


class _Upload:
    """A file that goes up in parts; nothing is to be seen of it before ``complete``."""

    def __init__(self, requests: Requests, bucket: str, key: str) -> None:
        self._requests = requests
        self._place = (bucket, key)
        self._id = text_of(parse_xml(requests.send("POST", bucket, key, query=(("uploads", ""),)).body), "UploadId")
        self._tags: List[str] = []

    def add(self, part: bytes) -> None:
        if len(self._tags) == MAX_PARTS:
            raise StagingError('"%s" grew while it was read' % self._place[1])
        query = (("partNumber", str(len(self._tags) + 1)), ("uploadId", self._id))
        answer = self._requests.send("PUT", *self._place, query=query, body=part)
        self._tags.append(answer.headers.get("etag", ""))

    def complete(self, size_bytes: int) -> None:
        parts = "".join("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>" % (number, escape(tag))
                        for number, tag in enumerate(self._tags, 1))
        body = "<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % parts
        try:
            answer = self._requests.send("POST", *self._place, query=(("uploadId", self._id),), body=body.encode())
        except Refused as cause:
            # A first answer may have been lost on its way, and the upload is then over.
            if cause.code == "NoSuchUpload" and self._requests.size(*self._place) == size_bytes:
                return
            raise
        found = parse_xml(answer.body)
        if tag_of(found) == "Error":  # S3 says 200 before it knows
            raise StagingError('"%s/%s" could not be put together: %s' % (
                self._place[0], self._place[1], text_of(found, "Message") or text_of(found, "Code")))

    def abort(self) -> None:
        try:
            self._requests.send("DELETE", *self._place, query=(("uploadId", self._id),))
        except StagingError as cause:
            self._requests.log("an upload in parts stays behind at \"%s/%s\": %s" % (*self._place, cause))


def parse(uri: str) -> Tuple[str, str]:
    """The bucket and the key. Raises ``StagingError`` for what is no artifact's URI."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    key = key.rstrip("/")
    if not separator or scheme not in SCHEMES:
        raise StagingError('no store keeps "%s"' % uri)
    if not bucket or not key or any(part in ("", ".", "..") for part in [bucket, *key.split("/")]):
        raise StagingError('"%s" is not the URI of an artifact' % uri)
    _check_key(key)
    return bucket, key


def _check_key(key: str) -> None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise StagingError("the file name %r is not UTF-8 text, as object stores need it" % key) from None
    if size > MAX_KEY_BYTES or any(ord(character) < 32 for character in key):
        raise StagingError("the file name %r cannot be an object's key: at most %d bytes and no control characters"
                           % (key[:200], MAX_KEY_BYTES))


def _side_by_side(act: Callable[[str], T], names: List[str]) -> Dict[str, T]:
    if len(names) < 2:
        return {name: act(name) for name in names}
    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        pending = {name: threads.submit(act, name) for name in names}
        try:
            return {name: one.result() for name, one in pending.items()}
        except BaseException:
            for one in pending.values():
                one.cancel()
            raise


def _read(reader: BinaryIO, size: int) -> bytes:
    """Exactly ``size`` bytes, or fewer where the file ends."""
    pieces = []
    while size > 0:
        piece = reader.read(min(size, CHUNK_BYTES))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
