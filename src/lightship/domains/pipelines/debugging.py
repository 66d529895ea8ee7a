"""A step's Pod once more, for a person to look into: the same inputs, environment and command, and no consequences.

``routes_debug`` makes it of a run's rows; ``lightship debug`` creates it. It belongs to no run: the engine does not see
it, its outputs stay in it, and its records and cache are untouched. Pure.
"""

from __future__ import annotations

import copy
import json

from lightship import errors
from lightship.domains.pipelines import children, dag, execution, names, parse
from lightship.domains.pipelines.nodes import RUNTIME, WAITING
from lightship.domains.pipelines.work import Work
from lightship.kube.objects import Object
from lightship.records.pipeline_rows import SKIPPED, RunRow, TaskRow

DEBUG_LABEL = "lightship.dev/debug-of"
LIMIT_SECONDS = 8 * 3600
"""After so long a Pod that somebody forgot ends by itself."""
_EXECUTOR = "kfp.dsl.executor_main"
_COMPONENT_WORDS = 7

_HOLD_COMPONENT = '''\
import os, shlex, signal, sys
folder = {folder!r}
os.makedirs(folder, exist_ok=True)
with open(os.path.join(folder, "component.py"), "w") as file:
    file.write({source})
with open(os.path.join(folder, "run"), "w") as file:
    command = [sys.executable, "-m", {executor!r}, "--component_module_path", os.path.join(folder, "component.py")]
    file.write("#!/bin/sh\\nexport _KFP_RUNTIME=true\\nexec " + shlex.join(command + {arguments}) + "\\n")
os.chmod(os.path.join(folder, "run"), 0o755)
with open(os.path.join(folder, "ready"), "w"):
    pass
print("held for lightship debug", flush=True)
signal.pause()
'''
_HOLD_COMMAND = '''\
quoted() { printf " '"; printf '%s' "$1" | sed "s/'/'\\\\''/g"; printf "'"; }
mkdir -p "$0" && {
  printf '#!/bin/sh\\nexec'
  for word in "$@"; do quoted "$word"; done
  echo
} > "$0/run" && chmod +x "$0/run" && : > "$0/ready" && echo held for lightship debug
trap 'exit 0' TERM INT
while :; do sleep 3600 & wait $!; done
'''


def pod(run: RunRow, rows: list[TaskRow], task_id: str, *, hold: bool) -> Object:
    """The Pod of the task, with ``generateName``; held, it waits for a shell in place of running its command.

    Raises ``errors.NotFound`` for a task that is no step, and ``errors.InvalidInput`` for one whose inputs are not
    known, since it never was to run.
    """
    pipeline = parse.spec(run.spec)
    work = Work(run, dag.Dag(pipeline, run_id=run.run_id, job=execution.job_of(run, pipeline)), rows)
    work.resume(run.created_at)
    path = next((path for path, row in work.rows.items() if row.task_id == task_id), "")
    node = work.dag.nodes.get(path)
    if node is None or node.type != RUNTIME:
        raise errors.NotFound(f'the run has no step "{path or task_id}" that runs in a Pod')
    if node.state in (WAITING, SKIPPED):
        raise errors.InvalidInput(f'the inputs of "{path}" are not known: it did not come to run')
    made = children.make_pod(work.step(path), work.job)
    return _alone(made, run, node.name, hold=hold)


def _alone(made: Object, run: RunRow, name: str, *, hold: bool) -> Object:
    metadata, spec = made["metadata"], copy.deepcopy(made["spec"])
    labels = {key: value for key, value in metadata["labels"].items() if key not in (names.RUN_LABEL, names.TASK_LABEL)}
    spec["containers"] = [container for container in spec["containers"] if container["name"] != names.STAGE_OUT]
    spec["activeDeadlineSeconds"] = LIMIT_SECONDS
    if hold:
        for container in spec["containers"]:
            if container["name"] == names.MAIN:
                _held(container)
    stem = names.pod("", name, "").rpartition("-")[0]
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": {
        "generateName": f"debug-{stem[:40]}-", "namespace": run.namespace,
        "labels": labels | {DEBUG_LABEL: metadata["labels"][names.TASK_LABEL]},
        "annotations": metadata.get("annotations") or {}}}


def _held(main: Object) -> None:
    """Have the container prepare its command and wait. A component keeps its environment: only its source changes."""
    command, arguments = list(main.get("command") or ()), list(main.get("args") or ())
    if len(command) == _COMPONENT_WORDS and _EXECUTOR in command[-2]:
        main["command"] = [*command[:-1], _HOLD_COMPONENT.format(
            folder=names.DEBUG_FOLDER, executor=_EXECUTOR, source=json.dumps(command[-1]),
            arguments=json.dumps(arguments))]
        return
    if not command:
        raise errors.Unsupported(
            f'the image "{main.get("image")}" says itself what runs, so the step cannot be held for a shell',
            remedy="run it again as it ran: lightship debug --run")
    main["command"], main["args"] = ["sh", "-c", _HOLD_COMMAND, names.DEBUG_FOLDER], [*command, *arguments]
