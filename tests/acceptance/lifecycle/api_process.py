"""An API server as a process, to be killed: serves the directory that it is given, and says when it does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from lightship.testing.embedded import embedded_api


async def serve(directory: Path) -> None:
    async with embedded_api(directory) as api:
        print(api.kubeconfig, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
