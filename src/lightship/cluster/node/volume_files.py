"""The files of configMap, secret, downwardAPI and projected volumes, changed all at once by one rename.

``volumes`` calls me when a Pod starts and whenever what a volume shows has changed. As kubelet lays it out: each file
is a link through ``..data``, which points to the directory of the present version.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from lightship.cluster.node.errors import ConfigError

Files = dict[str, tuple[bytes, int]]
"""Relative path to content and mode."""

_DATA = "..data"
_NEXT = "..data_tmp"


def write(directory: Path, files: Files, group: int | None = None) -> bool:
    """Makes ``directory`` show exactly ``files``; whether that changed anything. ``group`` may read them, if given."""
    for relative in files:
        parts = Path(relative).parts
        if os.path.isabs(relative) or ".." in parts or not parts or parts[0].startswith(".."):
            raise ConfigError(f'"{relative}" is not a path inside a volume')
    link = directory / _DATA
    before = os.readlink(link) if link.is_symlink() else ""
    if before and _read(directory / before) == {name: content for name, (content, _) in files.items()}:
        return False
    number = int(before.rpartition(".")[2]) + 1 if before else 0
    data = directory / f"{_DATA}.{number}"
    shutil.rmtree(data, ignore_errors=True)  # an update that was interrupted
    data.mkdir()
    _share(data, 0o755, group)
    for relative, (content, mode) in files.items():
        _put(data, Path(relative).parts, content, _mode(mode, group))
    _share_tree(data, group)
    (directory / _NEXT).unlink(missing_ok=True)
    (directory / _NEXT).symlink_to(data.name)
    os.rename(directory / _NEXT, link)
    _link(directory, {Path(relative).parts[0] for relative in files})
    if before:
        shutil.rmtree(directory / before, ignore_errors=True)
    return True


def _put(data: Path, parts: tuple[str, ...], content: bytes, mode: int) -> None:
    target = data.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(mode)


def _mode(mode: int, group: int | None) -> int:
    return stat.S_IMODE(mode) | (0o440 if group is not None else 0)


def _share(path: Path, mode: int, group: int | None) -> None:
    if group is not None:
        os.chown(path, -1, group)
        mode |= stat.S_ISGID if path.is_dir() else 0
    path.chmod(mode)


def _share_tree(data: Path, group: int | None) -> None:
    if group is None:
        return
    for path in data.rglob("*"):
        _share(path, stat.S_IMODE(path.stat().st_mode), group)


def _link(directory: Path, wanted: set[str]) -> None:
    for name in wanted:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path(_DATA) / name)
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()


def _read(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
