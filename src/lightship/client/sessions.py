"""Commands and connections inside Pods, as the API server asks for them and a node gives them.

``cluster/apiserver/streams`` calls what ``composition`` wired in, ``cluster/node`` implements it; the two rooms know
only these types. Every read and write waits for the other side, so that nobody's slowness grows memory.
"""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass
from typing import Protocol

from lightship.kube.objects import Key

STDIN, STDOUT, STDERR = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which streams a client holds. With ``tty`` all output comes as one, on stdout."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


@dataclass(frozen=True, kw_only=True)
class End:
    """How a session ended: the command's exit code (128 + signal if one ended it), and why it never ran, if so."""

    code: int = 0
    error: str = ""


class Session(Protocol):
    """A command that runs, or a container's main process, with its streams."""

    async def read(self, stream: int) -> bytes:
        """Output of ``STDOUT`` or ``STDERR`` as it comes; empty at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """To its input; returns when it has taken all. What nobody reads any more is dropped."""
        ...

    def close_stdin(self) -> None:
        """No more input comes; the command reads an end of file."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """The client's terminal has another size now."""
        ...

    async def wait(self) -> End:
        """How it ended. Output may still be unread."""
        ...

    async def close(self) -> None:
        """Let go of it. A command that still runs is ended with its whole terminal session; attaching ends nothing."""
        ...


class Target(Protocol):
    """A container that runs."""

    async def execute(self, command: tuple[str, ...], wanted: Wanted) -> Session: ...

    async def attach(self, wanted: Wanted) -> Session: ...


class Streams(Protocol):
    """What a node offers of its Pods."""

    def target(self, pod: Key, container: str) -> Target:
        """Raises ``errors.NotFound`` for no such Pod here, ``errors.BadRequest`` for a container that does not run."""
        ...

    async def dial(self, pod: Key, port: int) -> tuple[StreamReader, StreamWriter]:
        """A connection to what listens on ``port`` in the Pod. Raises ``errors.NotFound``, ``OSError``."""
        ...
