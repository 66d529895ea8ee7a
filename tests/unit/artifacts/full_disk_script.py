"""Fetches what does not fit on the disk of the folder that it is given, and prints what came of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lightship import errors
from lightship.artifacts.cache import Cache, Wish
from lightship.artifacts.sources import Found


class Large:
    """Two MiB, whose size nobody tells before."""

    uri = "s3://b/large"

    async def look(self) -> Found:
        return Found(version="1")

    async def fill(self, folder: Path) -> None:
        await asyncio.to_thread((folder / "large").write_bytes, bytes(2 << 20))


async def main(root: Path) -> None:
    pod = root / "pod"
    pod.mkdir()
    try:
        await Cache(root / "cache", free=lambda path: 1 << 40).bring(
            Wish(source=Large(), owner="team", folder=pod), print)
    except errors.Unavailable as problem:
        print(problem)
    assert not list((root / "cache" / "partial").iterdir())
    (pod / "small").write_bytes(b"there is room again")


asyncio.run(main(Path(sys.argv[1])))
