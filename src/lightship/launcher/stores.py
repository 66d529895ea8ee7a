"""Where artifacts are kept, as the launcher sees it: a tiny protocol, and the store in a folder.

``staging`` calls a ``Store``. ``FolderStore`` keeps ``minio://bucket/key`` (and the schemes it is told) in
``<folder>/bucket/key``, the layout that the embedded platform's artifact store has; on a cluster the folder is a
mounted volume. ``s3`` is the store at an S3 endpoint, ``places`` chooses.
"""

from __future__ import annotations

import os
import shutil
import uuid
from typing import Dict, Tuple

from .files import StagingError, Stored, copy_file, files_under, make_folders, tree_digest, within

try:
    from typing import Protocol
except ImportError:  # pragma: no cover - Python 3.7 and older are refused at the start
    Protocol = object  # type: ignore[assignment]

MAX_ARTIFACT_BYTES = 1 << 40
MAX_RECORD_BYTES = 64 * 1024 * 1024


class Store(Protocol):
    """Keeps files and folders under URIs. Every method blocks; failures are ``StagingError``."""

    def handles(self, uri: str) -> bool:
        """Whether the URI is one that this store keeps."""

    def fetch(self, uri: str, destination: str) -> None:
        """Copy what is at ``uri`` to the path ``destination``, which must not exist and whose folder must."""

    def put(self, uri: str, source: str) -> Stored:
        """Keep the file or folder ``source``; links in a folder must stay inside it."""

    def write(self, uri: str, data: bytes) -> None:
        """Keep ``data``: all of it becomes visible at once."""


class FolderStore:
    """A folder, with one folder a bucket."""

    def __init__(self, folder: str, schemes: Tuple[str, ...] = ("minio",)) -> None:
        self._folder = os.path.realpath(folder)
        self._schemes = schemes

    def handles(self, uri: str) -> bool:
        return uri.partition("://")[0] in self._schemes

    def fetch(self, uri: str, destination: str) -> None:
        source = self._path(uri)
        if not os.path.exists(source):
            raise StagingError('there is nothing at "%s"' % uri)
        if os.path.isdir(source):
            make_folders(destination)
            for relative, path in files_under(source):
                target = os.path.join(destination, relative)
                make_folders(os.path.dirname(target))
                copy_file(path, target, MAX_ARTIFACT_BYTES)
        else:
            copy_file(source, destination, MAX_ARTIFACT_BYTES)

    def put(self, uri: str, source: str) -> Stored:
        target = self._path(uri)
        temporary = self._temporary(target)
        try:
            if os.path.isdir(source):
                stored = self._put_tree(source, temporary)
            else:
                stored = copy_file(source, temporary, MAX_ARTIFACT_BYTES)
            if os.path.isdir(target):
                shutil.rmtree(target)
            os.replace(temporary, target)
        except BaseException:
            if os.path.isdir(temporary):
                shutil.rmtree(temporary, ignore_errors=True)
            elif os.path.exists(temporary):
                os.unlink(temporary)
            raise
        return stored

    def _put_tree(self, source: str, temporary: str) -> Stored:
        os.mkdir(temporary)
        parts: Dict[str, Stored] = {}
        for relative, path in files_under(source):
            target = os.path.join(temporary, relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            parts[relative] = copy_file(path, target, MAX_ARTIFACT_BYTES)
        return tree_digest(parts)

    def write(self, uri: str, data: bytes) -> None:
        target = self._path(uri)
        temporary = self._temporary(target)
        with open(temporary, "wb") as writer:
            writer.write(data)
        os.replace(temporary, target)

    def _temporary(self, target: str) -> str:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        aside = os.path.join(self._folder, ".incoming")
        os.makedirs(aside, exist_ok=True)
        return os.path.join(aside, uuid.uuid4().hex)

    def _path(self, uri: str) -> str:
        scheme, separator, rest = uri.partition("://")
        parts = rest.split("/")
        if not separator or scheme not in self._schemes:
            raise StagingError('no store keeps "%s"' % uri)
        if len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise StagingError('"%s" is not the URI of an artifact' % uri)
        path = os.path.realpath(os.path.join(self._folder, *parts))
        if not within(path, self._folder):
            raise StagingError('"%s" leads outside the artifact store' % uri)
        return path
