"""``lightship debug RUN STEP``: a step's exact inputs, environment and command again, in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import aclosing
from typing import Any

from lightship import errors
from lightship.cli import connection, exits
from lightship.cli.connection import Platform
from lightship.client import terminals
from lightship.client.client import Selection
from lightship.domains.pipelines import names
from lightship.domains.pipelines.commands import finding, tree
from lightship.domains.pipelines.commands.follow import RUNS
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS

START_LIMIT_SECONDS = 600
"""An environment may have to be built, or an image pulled."""
TOLD_SECONDS = 2.0
_DESCRIPTION = """\
Start a step of a run again, apart from the run: the same inputs, environment and command. Nothing of it is recorded.

On a terminal a shell opens where the step would run:

  ./run             runs the step as it ran
  component.py      is the source of a Python component: change it, and ./run runs the change

Elsewhere, or with --run, the step just runs, and the exit code is its own.
"""
_SHELL = f"""\
cd {names.DEBUG_FOLDER} 2>/dev/null
if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi
"""
_AWAIT = f"while [ ! -e {names.DEBUG_FOLDER}/ready ]; do sleep 0.05; done"


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    debug = verbs.add_parser("debug", help="open a step's inputs and environment, or run just that step again",
                             description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    debug.add_argument("run", metavar="RUN", help=finding.HELP)
    debug.add_argument("step", metavar="STEP", help="the step's name, or its path where several have that name")
    debug.add_argument("--run", dest="runs", action="store_true", help="run the step again, without a shell")
    debug.add_argument("--keep", action="store_true", help="leave the Pod there afterwards")
    connection.add(debug)
    debug.set_defaults(handler=connection.handler(_debug))


async def _debug(platform: Platform, arguments: argparse.Namespace) -> int:
    hold = not arguments.runs and sys.stdin.isatty() and sys.stdout.isatty()
    run_id = await finding.run_id(platform, arguments.run)
    step = tree.step_of(tree.of_run(await platform.kfp(f"{RUNS}/{run_id}")), arguments.step)
    pod = await platform.kfp(f"{RUNS}/{run_id}/tasks/{step.task_id}:debugPod", {"hold": str(hold).lower()})
    made = await platform.kube.create(PODS, pod)
    key = objects.key(made)
    sys.stderr.write(f"{step.path} again, in the Pod {key.name}\n")
    try:
        await _started(platform, made)
        return await _shell(platform, key) if hold else await _watched(platform, key)
    finally:
        if not arguments.keep:
            await platform.kube.delete(PODS, key, grace_seconds=0)


async def _started(platform: Platform, pod: Object) -> None:
    """Wait until main runs or has ended; say what it waits for. Raises ``errors.DeadlineExceeded``."""
    told, key = "", objects.key(pod)
    async with asyncio.timeout(START_LIMIT_SECONDS):
        chosen = Selection(namespace=key.namespace, fields=f"metadata.name={key.name}")
        revision = str(objects.meta(pod)["resourceVersion"])
        while not _has_begun(pod):
            async with aclosing(platform.kube.watch(PODS, chosen, resource_version=revision)) as events:
                async for event in events:
                    if event.type == "BOOKMARK":
                        continue
                    if event.type == "DELETED":
                        raise errors.Conflict(f"the Pod {key.name} was deleted while it started")
                    pod = event.object
                    why = _waits_for(pod)
                    if why and why != told:
                        told = why
                        sys.stderr.write(f"  waiting: {why}\n")
                    if _has_begun(pod):
                        return
            pod = await platform.kube.get(PODS, key.name, key.namespace)
            revision = str(objects.meta(pod)["resourceVersion"])


def _main(pod: Object) -> dict[str, Any]:
    statuses = objects.status(pod).get("containerStatuses") or []
    return next((status.get("state") or {} for status in statuses if status["name"] == names.MAIN), {})


def _has_begun(pod: Object) -> bool:
    state = _main(pod)
    return "running" in state or "terminated" in state or objects.status(pod).get("phase") in ("Succeeded", "Failed")


def _waits_for(pod: Object) -> str:
    """Why the Pod does not start, in one line; empty where there is nothing to say."""
    status = objects.status(pod)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    waiting = _main(pod).get("waiting") or {}
    return str(waiting.get("message") or "")


async def _shell(platform: Platform, key: Key) -> int:
    """A shell where the step would run, once what it needs is written there."""
    words = ("sh", "-c", f"{_AWAIT}; {_SHELL}")
    code = await terminals.run(platform.http, terminals.Command(pod=key, container=names.MAIN, words=words,
                                                                terminal=True))
    sys.stderr.write("\n")
    return code


async def _watched(platform: Platform, key: Key) -> int:
    """The log as it comes; then the exit code of the step's own command."""
    async with aclosing(platform.kube.log(key, {"container": names.MAIN, "follow": "true"})) as chunks:
        async for chunk in chunks:
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
    pod = await platform.kube.get(PODS, key.name, key.namespace)
    ended = _main(pod).get("terminated")
    if ended is not None:
        return int(ended.get("exitCode", exits.FAILED))
    sys.stderr.write(f"the step did not run: {objects.status(pod).get('message') or _waits_for(pod)}\n")
    return exits.FAILED
