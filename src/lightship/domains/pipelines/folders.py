"""Where a run's files lie: ``<root>/<pipeline>/<run id>/<task>/<attempt>/<output>``, and its Pods' logs beside. Pure.

``execution`` makes an attempt's folder of mine; deletion, logs and the routes ask me for a run's.
"""

from __future__ import annotations

from typing import Any

from lightship.artifacts import tenancy
from lightship.domains.pipelines import names
from lightship.kube.objects import Object


def root(namespace: str, *given: str) -> str:
    """The root of a run's files: the first of ``given`` (the run's own, the pipeline's) that says one."""
    return (next((one for one in given if one), "") or tenancy.default_root(namespace)).rstrip("/")


def check(namespace: str, *given: str) -> None:
    """Raise ``errors.Forbidden`` for a root that is not the namespace's to write to, ``BadLocation`` for no root."""
    tenancy.check(f"{root(namespace, *given)}/runs", namespace, write=True)


def of_run(base: str, pipeline: str, run_id: str) -> str:
    """The folder of one run under the root ``base``; ``pipeline`` is the pipeline's name."""
    return f"{base}/{names.segment(pipeline)}/{run_id}"


def of_stored(namespace: str, run_id: str, pipeline_root: str, spec: Object) -> str:
    """The folder of a run from what the records hold of it. Whatever the specification is, this raises nothing."""
    pipeline: Any = spec.get("pipeline_spec") if isinstance(spec.get("pipeline_spec"), dict) else spec
    declared, info = pipeline.get("defaultPipelineRoot"), pipeline.get("pipelineInfo")
    name = info.get("name") if isinstance(info, dict) else ""
    base = root(namespace, pipeline_root, declared if isinstance(declared, str) else "")
    return of_run(base, str(name or ""), run_id)


def log(run_folder: str, pod: str) -> str:
    """Where a Pod's log is kept when the Pod is gone. A Pod's name is that of one attempt."""
    return f"{run_folder}/{names.LOGS_FOLDER}/{pod}.log"
