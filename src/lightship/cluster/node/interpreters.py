"""Which interpreter a Python version means on this machine.

``environments`` calls me; I look beside our own and ask uv, and download nothing.

A version that is not to be had is stood in for by the server's own: a pipeline that names ``python:3.11``, as the KFP
SDK does by default, must run on a laptop that has 3.13 and no network.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

FIND_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python on this machine. ``stands_in_for`` is the version that was wanted, where this is another."""

    path: str
    stands_in_for: str = ""


class Interpreters:
    """Looks each version up once."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._found: dict[str, asyncio.Task[Interpreter]] = {}

    async def get(self, version: str) -> Interpreter:
        """The interpreter for ``3.11`` and the like; the server's own for the empty string."""
        if version in ("", f"{sys.version_info.major}.{sys.version_info.minor}"):
            return Interpreter(path=self._own)
        if version not in self._found:
            self._found[version] = asyncio.create_task(self._find(version))
        return await asyncio.shield(self._found[version])

    async def _find(self, version: str) -> Interpreter:
        path = self._sibling(version) or await _ask_uv(version)
        if path:
            return Interpreter(path=path)
        _log.warning("a Python version is not on this machine; the server's own stands in for it",
                     extra={"wanted": version, "used": self._own})
        return Interpreter(path=self._own, stands_in_for=version)

    def _sibling(self, version: str) -> str:
        """Beside our own prefix, as version managers lay their interpreters out."""
        prefix = Path(self._own).resolve().parent.parent
        for candidate in sorted(prefix.parent.glob(f"*{version}.*"), reverse=True):
            program = candidate / "bin" / f"python{version}"
            if program.exists():
                return str(program)
        return ""


async def _ask_uv(version: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", "--no-project", version,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(FIND_SECONDS):
            said, _ = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    return said.decode().strip() if process.returncode == 0 else ""
