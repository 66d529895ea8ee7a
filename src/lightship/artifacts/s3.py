"""S3, MinIO and what speaks like them, as ``remote.Objects``. ``routing`` makes me; the requests are the launcher's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from lightship import errors
from lightship.artifacts.remote import Listed, NoSuchObject, RefusedObject
from lightship.launcher import s3_requests
from lightship.launcher.files import StagingError, Stored
from lightship.launcher.s3 import PART_BYTES, S3Store
from lightship.launcher.s3_requests import Refused, Requests, Site, parse_xml, tag_of, text_of

_log = logging.getLogger(__name__)
T = TypeVar("T")
PAGE_KEYS = 1000


class S3Objects:
    """One endpoint with one pair of keys."""

    def __init__(self, site: Site, *, part_bytes: int = PART_BYTES) -> None:
        self._requests = Requests(site, _log.info)
        self._store = S3Store(self._requests, part_bytes)

    def about(self, bucket: str, key: str) -> Listed:
        told = _told(lambda: self._requests.send("HEAD", bucket, key)).headers
        return Listed(name=key, size_bytes=int(told["content-length"]), version=_version(told.get("etag", "")))

    def download(self, bucket: str, key: str, destination: str) -> Stored:
        return _told(lambda: self._requests.download(bucket, key, destination))

    def upload(self, bucket: str, key: str, source: str) -> Stored:
        return _told(lambda: self._store.put(f"s3://{bucket}/{key}", source))

    def write(self, bucket: str, key: str, data: bytes) -> None:
        _told(lambda: self._requests.send("PUT", bucket, key, body=data))

    def below(self, bucket: str, prefix: str, limit: int) -> Iterator[Listed]:
        token, left = "", limit
        while left > 0:
            query = [("list-type", "2"), ("max-keys", str(min(left, PAGE_KEYS))), ("prefix", prefix)]
            asked = tuple([*query, ("continuation-token", token)] if token else query)
            answer = _told(lambda asked=asked: self._requests.send("GET", bucket, query=asked))  # type: ignore[misc]
            page = parse_xml(answer.body)
            for element in page.iter():
                if tag_of(element) == "Contents":
                    left -= 1
                    name = text_of(element, "Key")[len(prefix):]
                    if name and not name.endswith("/"):  # else the mark of an empty folder
                        yield Listed(name=name, size_bytes=int(text_of(element, "Size") or 0),
                                     version=_version(text_of(element, "ETag")))
            token = text_of(page, "NextContinuationToken") if text_of(page, "IsTruncated") == "true" else ""
            if not token:
                return

    def delete(self, bucket: str, key: str) -> None:
        try:
            _told(lambda: self._requests.send("DELETE", bucket, key))
        except NoSuchObject:
            return  # MinIO and S3 answer 204 to that; others 404


def site(environ: Mapping[str, str]) -> Site:
    """The endpoint, keys and region that the variables of AWS's own tools name. Raises ``errors.InvalidInput``."""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or s3_requests.DEFAULT_REGION
    endpoint = (environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
                or f"https://s3.{region}.amazonaws.com")
    try:
        return s3_requests.site(endpoint, environ)
    except StagingError as cause:
        raise errors.InvalidInput(str(cause)) from cause


def _version(tag: str) -> str:
    tag = tag.strip('"')
    return f"etag:{tag}" if tag else ""


def _told(act: Callable[[], T]) -> T:
    """What the endpoint refuses, in the words of ``remote``."""
    try:
        return act()
    except Refused as cause:
        if cause.status == 404 and cause.code != "NoSuchBucket":
            raise NoSuchObject(str(cause)) from cause
        raise RefusedObject(str(cause)) from cause
