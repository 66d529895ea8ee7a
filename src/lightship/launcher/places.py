"""Which store a place names. ``__main__`` calls me; the embedded platform brings its own store and never loads me."""

from __future__ import annotations

import os
from typing import Callable, Mapping

from . import s3, s3_requests
from .files import StagingError
from .stores import FolderStore, Store


def open_store(location: str, environment: Mapping[str, str], log: Callable[[str], None]) -> Store:
    """The store that ``location`` names: a folder, or the ``http(s)://host:port`` of an S3 endpoint, whose keys are in
    the environment. Raises ``StagingError`` with what is missing."""
    scheme = location.partition("://")[0] if "://" in location else ""
    if scheme in ("http", "https"):
        return s3.S3Store(s3_requests.Requests(s3_requests.site(location, environment), log))
    if scheme in ("", "file"):
        folder = location[len("file://"):] if scheme else location
        if not os.path.isdir(folder):
            raise StagingError('the artifact store\'s folder "%s" is not mounted here' % folder)
        return FolderStore(folder, ("minio", "s3", "gs"))
    raise StagingError('the artifact store "%s" is neither a folder nor the http(s)://host:port of an S3 endpoint'
                       % location)
