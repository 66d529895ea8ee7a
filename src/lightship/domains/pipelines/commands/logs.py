"""The logs of a run's steps, one after another or, followed, all at once with each step's name. ``runs`` calls me."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TextIO

from lightship import errors
from lightship.cli import exits
from lightship.cli.connection import Platform
from lightship.domains.pipelines import names
from lightship.domains.pipelines.commands import tree
from lightship.domains.pipelines.commands.follow import POLL_SECONDS, RUNS
from lightship.domains.pipelines.commands.tree import Node
from lightship.kube.objects import Key

LIMIT_STREAMS = 50
"""Steps whose logs are followed at once."""
LIMIT_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which logs. ``tail`` is the number of last lines of each; negative for all."""

    run_id: str
    step: str = ""
    follow: bool = False
    tail: int = -1


async def write(platform: Platform, wanted: Wanted, stream: TextIO) -> int:
    """Print them. Raises ``errors.NotFound`` for a step that the run has not."""
    run = await platform.kfp(f"{RUNS}/{wanted.run_id}")
    if wanted.follow and not wanted.step:
        return await _follow_all(platform, wanted, stream)
    root = tree.of_run(run)
    steps = [tree.step_of(root, wanted.step)] if wanted.step else list(root.steps())
    for step in steps:
        await _one(platform, wanted, step, _Printer(stream, "" if wanted.step else step.path))
    return exits.OK


async def _follow_all(platform: Platform, wanted: Wanted, stream: TextIO) -> int:
    """Every step's log from when it begins, until the run has ended and all is printed."""
    begun: set[str] = set()
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            run: dict[str, Any] = await platform.kfp(f"{RUNS}/{wanted.run_id}")
            for step in tree.of_run(run).steps():
                if step.pod and step.pod not in begun and step.state != "PENDING" and len(running) < LIMIT_STREAMS:
                    begun.add(step.pod)
                    running.add(asyncio.create_task(_one(platform, wanted, step, _Printer(stream, step.path))))
            ended = {task for task in running if task.done()}
            for task in ended:
                task.result()
            running -= ended
            if str(run.get("state")) in tree.FINAL and not running:
                return exits.OK
            await asyncio.sleep(POLL_SECONDS)
    finally:
        for task in running:
            task.cancel()


async def _one(platform: Platform, wanted: Wanted, step: Node, printer: _Printer) -> None:
    async for chunk in _chunks(platform, wanted, step):
        printer.feed(chunk)
    printer.end()


async def _chunks(platform: Platform, wanted: Wanted, step: Node) -> AsyncIterator[bytes]:
    """The step's Pod's log; where the Pod is gone, what was kept of it."""
    if not step.pod:
        return
    query = {"container": names.MAIN}
    if wanted.follow:
        query["follow"] = "true"
    if wanted.tail >= 0:
        query["tailLines"] = str(wanted.tail)
    try:
        async with aclosing(platform.kube.log(Key(platform.namespace, step.pod), query)) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    except errors.NotFound:
        path = f"/apis/v1alpha1/runs/{wanted.run_id}/nodes/{step.pod}/log"
    except errors.BadRequest:
        return  # It has not begun to write.
    try:
        async with aclosing(platform.log(path)) as kept:
            async for chunk in kept:
                yield chunk
    except errors.NotFound:
        return


class _Printer:
    """Writes whole lines, each behind the step's name where there are several steps."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._head = f"[{name}] " if name else ""
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._write(line)
        if len(self._rest) > LIMIT_LINE_BYTES:
            self._write(self._rest)
            self._rest = b""
        self._stream.flush()

    def end(self) -> None:
        if self._rest:
            self._write(self._rest)
            self._rest = b""
            self._stream.flush()

    def _write(self, line: bytes) -> None:
        self._stream.write(f"{self._head}{line.decode(errors='replace')}\n")
