"""The engine's command-line client, which is how I speak to podman and docker. ``engine`` and ``container`` call me.

Every client that I start ends with the node's process; what it asked for may go on, and carries the node's label.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass

from lightship.cluster.node.inside import linux

ASK_SECONDS = 120.0
LIMIT_CLIENTS = 8
"""Clients that run at once; each is a program of some tens of megabytes."""
LIMIT_ANSWER_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a client ended, and what it wrote."""

    code: int
    output: str = ""
    errors: str = ""

    @property
    def said(self) -> str:
        """What there is to tell of a failure."""
        return self.errors or self.output or f"it exited with {self.code}"


class Client:
    """One engine's client. ``general`` are flags before each verb."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.general: tuple[str, ...] = ()
        self._slots = asyncio.Semaphore(LIMIT_CLIENTS)

    def words(self, *words: str) -> tuple[str, ...]:
        """A whole command line."""
        return (self.program, *self.general, *words)

    async def ask(self, *words: str, env: Mapping[str, str] | None = None, seconds: float = ASK_SECONDS) -> Answer:
        """Runs the client to its end. A client that cannot be run, or takes too long, is an answer too."""
        async with self._slots:
            try:
                process = await self.start(*words, env=env, stdout=asyncio.subprocess.PIPE,
                                           stderr=asyncio.subprocess.PIPE)
            except OSError as error:
                return Answer(code=127, errors=f"{self.program} cannot be run: {error}")
            return await _finish(process, f"{self.program} {words[0]}", seconds)

    async def start(self, *words: str, env: Mapping[str, str] | None = None, stdin: int = asyncio.subprocess.DEVNULL,
                    stdout: int = asyncio.subprocess.DEVNULL,
                    stderr: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        """Starts the client on the caller's descriptors. Raises ``OSError``."""
        return await asyncio.create_subprocess_exec(
            *self.words(*words), env={**(env or {}), **os.environ}, cwd="/", stdin=stdin, stdout=stdout, stderr=stderr,
            start_new_session=True, preexec_fn=linux.die_with_parent, limit=LIMIT_ANSWER_BYTES)


async def _finish(process: asyncio.subprocess.Process, what: str, seconds: float) -> Answer:
    try:
        async with asyncio.timeout(seconds):
            output, said = await process.communicate()
    except TimeoutError:
        return Answer(code=124, errors=f"`{what}` did not end within {seconds:.0f} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Answer(code=process.returncode, output=_text(output), errors=_text(said))


def _text(data: bytes) -> str:
    return data[-LIMIT_ANSWER_BYTES:].decode(errors="replace").strip()
