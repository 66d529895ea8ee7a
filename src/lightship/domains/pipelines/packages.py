"""A pipeline package as it is uploaded: YAML or JSON, or a zip or tar.gz with one such file in it. Pure.

Archives come from anybody: nothing is unpacked to disk, nothing but a regular file is read, and an archive that grows
past the limit is refused while it is read.
"""

from __future__ import annotations

import io
import zlib

from lightship import errors
from lightship.domains.pipelines.document import MAX_FILE_BYTES
from lightship.domains.pipelines.errors import InvalidPipeline

MEMBERS_LIMIT = 1000
UNPACKED_LIMIT_BYTES = 4 * MAX_FILE_BYTES
_NAMES = ("pipeline.yaml", "pipeline.yml", "pipeline.json")
_ENDINGS = (".yaml", ".yml", ".json")


def pipeline_file(data: bytes) -> bytes:
    """The pipeline file in ``data``. Raises ``InvalidPipeline`` or ``errors.TooLarge``."""
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):  # the latter begins an archive of nothing
        return _from_zip(data)
    if data[:2] == b"\x1f\x8b":
        return _from_tar(_inflated(data))
    return data


def _from_zip(data: bytes) -> bytes:
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_count(len(members))
            sizes = {each.filename: each for each in members if not each.is_dir()}
            chosen = sizes[_choose(list(sizes))]
            with archive.open(chosen) as member:
                return _bounded(member.read(MAX_FILE_BYTES + 1))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidPipeline(f"the zip archive cannot be read: {error}",
                              remedy="Upload the compiled YAML file itself") from error


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        unpacked = inflater.decompress(data, UNPACKED_LIMIT_BYTES)
    except zlib.error as error:
        raise InvalidPipeline(f"the tar.gz archive cannot be read: {error}",
                              remedy="Upload the compiled YAML file itself") from error
    if inflater.unconsumed_tail:
        raise errors.TooLarge(f"the archive unpacks to more than {UNPACKED_LIMIT_BYTES} bytes")
    return unpacked


def _from_tar(data: bytes) -> bytes:
    import tarfile

    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = {}
            for count, member in enumerate(archive, start=1):
                _check_count(count)
                if member.isreg():
                    members[member.name] = member
            opened = archive.extractfile(members[_choose(list(members))])
            assert opened is not None  # A regular file has content.
            return _bounded(opened.read(MAX_FILE_BYTES + 1))
    except tarfile.TarError as error:
        raise InvalidPipeline(f"the tar.gz archive cannot be read: {error}",
                              remedy="Upload the compiled YAML file itself") from error


def _choose(names: list[str]) -> str:
    """The pipeline's file: the one that is called so, else the only one."""
    found = [name for name in names if name.removeprefix("./") in _NAMES]
    found = found or [name for name in names if name.endswith(_ENDINGS)]
    if len(found) != 1:
        raise InvalidPipeline(f"the archive holds {len(found)} pipeline files where one is expected",
                              remedy="Name the file pipeline.yaml")
    return found[0]


def _check_count(count: int) -> None:
    if count > MEMBERS_LIMIT:
        raise errors.TooLarge(f"the archive has more than {MEMBERS_LIMIT} members")


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise errors.TooLarge(f"the pipeline file in the archive has more than {MAX_FILE_BYTES} bytes")
    return data
