"""``lightship run``: a pipeline from a file or from Python, started and, where asked, followed to its end."""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import sys
from datetime import datetime
from typing import Any

from lightship.cli import connection, exits
from lightship.cli.connection import Platform, connected
from lightship.domains.pipelines.commands import finding, follow, launching
from lightship.kube.objects import Object

_DESCRIPTION = """\
Run a pipeline. PIPELINE is a compiled file, or Python that defines one, which the Python of your shell compiles:

  lightship run train.yaml -p epochs=3 --follow
  lightship run train.py                         the one pipeline that the file defines
  lightship run train.py:nightly -p day=2026-01-31
  lightship run my.package.pipelines:nightly

A parameter is read by the type that the pipeline declares: lists and structs are JSON, @FILE is a file's text.
"""


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = verbs.add_parser("run", help="run a pipeline", description=_DESCRIPTION,
                           formatter_class=argparse.RawDescriptionHelpFormatter)
    launching.add(run)
    run.add_argument("--name", default="", help="what to call the run (default: the pipeline's name and the time)")
    run.add_argument("--experiment", default="", metavar="NAME", help="the experiment it belongs to; made if missing")
    run.add_argument("--service-account", default="", metavar="NAME", help="as whom its steps run")
    run.add_argument("--no-cache", dest="cache", action="store_false", help="run every step, even if nothing changed")
    run.add_argument("-f", "--follow", action="store_true",
                     help="show the run until it ends; the exit code is 0 only if it succeeds")
    run.add_argument("-o", "--output", choices=("text", "json", "name"), default="text",
                     help="text, the run as JSON, or its id alone")
    connection.add(run)
    run.set_defaults(handler=lambda arguments: asyncio.run(_run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    launch = launching.prepared(arguments)
    spec = launch.spec if arguments.cache else uncached(launch.spec)
    async with connected(arguments) as platform:
        body = await _body(platform, arguments, launch.name)
        body |= {"pipeline_spec": spec, "runtime_config": {"parameters": launch.parameters}}
        made: dict[str, Any] = await platform.send("POST", "/apis/v2beta1/runs", body,
                                                   {"namespace": platform.namespace})
        return await _tell(platform, arguments, made)


async def _body(platform: Platform, arguments: argparse.Namespace, name: str) -> Object:
    body: Object = {"display_name": arguments.name or f"{name} {datetime.now():%Y-%m-%d %H:%M:%S}"}
    if arguments.service_account:
        body["service_account"] = arguments.service_account
    if arguments.experiment:
        body["experiment_id"] = await finding.needed_experiment(platform, arguments.experiment)
    return body


async def _tell(platform: Platform, arguments: argparse.Namespace, run: dict[str, Any]) -> int:
    run_id = str(run["run_id"])
    stream = follow.progress_stream(arguments.output)
    stream.write(f"run {run_id}  {run.get('display_name', '')}\n" if stream.isatty() or arguments.output == "text"
                 else "")
    stream.flush()
    code = exits.OK
    if arguments.follow:
        run = await follow.follow(platform, run_id, stream)
        code = await follow.explain(platform, run, stream)
    elif arguments.output == "text":
        stream.write(f"  follow it with:  lightship runs get {run_id} --follow\n")
    if arguments.output == "json":
        sys.stdout.write(json.dumps(run, indent=2) + "\n")
    elif arguments.output == "name":
        sys.stdout.write(run_id + "\n")
    sys.stdout.flush()
    return code


def uncached(spec: Object) -> Object:
    """The specification with the cache off for every step, nested ones too."""
    result = copy.deepcopy(spec)

    def visit(component: Any) -> None:
        for task in (component.get("dag") or {}).get("tasks", {}).values():
            task["cachingOptions"] = {"enableCache": False}

    body = result.get("pipeline_spec") or result
    visit(body.get("root") or {})
    for component in (body.get("components") or {}).values():
        visit(component)
    return result
