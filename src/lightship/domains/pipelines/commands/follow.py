"""Watches a run until it ends, and says why where it failed. ``run`` and ``runs`` call me."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, TextIO

from lightship import errors
from lightship.cli import exits
from lightship.cli.connection import Platform
from lightship.domains.pipelines import last_words, names
from lightship.domains.pipelines.commands import tree, view
from lightship.domains.pipelines.commands.tree import Node
from lightship.kube.objects import Key

RUNS = "/apis/v2beta1/runs"
POLL_SECONDS = 0.25
POLL_SHARE = 4.0
"""Times as long as an answer took are waited for the next, so that a run of thousands of steps is not asked all day."""
LOG_TAIL_LINES = 15
LIMIT_FAILURES_SHOWN = 5


async def follow(platform: Platform, run_id: str, stream: TextIO) -> dict[str, Any]:
    """Show the run until it ends; its last shape."""
    with view.shown(stream) as show:
        while True:
            before = time.monotonic()
            run: dict[str, Any] = await platform.kfp(f"{RUNS}/{run_id}")
            show(tree.of_run(run), datetime.now(UTC))
            if str(run.get("state")) in tree.FINAL:
                return run
            await asyncio.sleep(max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - before)))


async def explain(platform: Platform, run: dict[str, Any], stream: TextIO) -> int:
    """Say how the run ended; of steps that failed, the last lines of their logs. Returns the exit code."""
    root, run_id = tree.of_run(run), str(run.get("run_id"))
    if root.state == "SUCCEEDED":
        return exits.OK
    failed = [step for step in root.steps() if step.state == "FAILED"]
    stream.write("\n")
    for step in failed[:LIMIT_FAILURES_SHOWN]:
        tail = await last_lines(platform, step)
        why = view.short(step.message) if tail else step.message.strip()
        stream.write(f"{step.path} failed: {why or 'it did not say why'}\n")
        if tail:
            stream.write("".join(f"    {line}\n" for line in tail))
        if step.pod:
            stream.write(f"  rerun just this step:  lightship debug {run_id} {step.path}\n")
    if len(failed) > LIMIT_FAILURES_SHOWN:
        stream.write(f"... and {len(failed) - LIMIT_FAILURES_SHOWN} more: lightship runs get {run_id}\n")
    if not failed and root.message:
        stream.write(f"the run {view.said(root.state)}: {root.message}\n")
    stream.write(f"  run again what failed: lightship runs retry {run_id}\n")
    return exits.FAILED


async def last_lines(platform: Platform, step: Node) -> list[str]:
    """The end of a step's own log; empty where none is kept."""
    if not step.pod:
        return []
    found = b""
    try:
        query = {"container": names.MAIN, "tailLines": str(last_words.LIMIT_SOUGHT_LINES)}
        async with aclosing(platform.kube.log(Key(platform.namespace, step.pod), query)) as chunks:
            async for chunk in chunks:
                found = (found + chunk)[-last_words.LIMIT_SOUGHT_BYTES:]
    except (errors.NotFound, errors.BadRequest):
        return []
    return last_words.own(found.decode(errors="replace"), LOG_TAIL_LINES)


def progress_stream(output: str) -> TextIO:
    """Where people look while a script reads standard output."""
    return sys.stdout if output == "text" else sys.stderr
