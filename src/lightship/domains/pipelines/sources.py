"""What a run or a recurring run is to be made of: its experiment, its specification, its parameters.

Their routes call me; I call ``rest``, ``parse`` and the records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from lightship import errors
from lightship.domains.pipelines import document, folders, inputs, ir, launcher_config, parse, providers, rest
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.recurring import macros
from lightship.domains.pipelines.rest import Deps
from lightship.domains.pipelines.routes_experiments import default
from lightship.kube.objects import Object
from lightship.records import experiments, pipelines
from lightship.records.rows import Experiment


@dataclass(frozen=True, kw_only=True)
class Source:
    """A specification, and the pipeline and version that were named. ``version_id`` is that of ``spec``."""

    spec: Object
    pipeline_id: str = ""
    version_id: str = ""
    latest: bool = False
    """Only a pipeline was named: ``spec`` is that of the version that is its newest now."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The part of a run that its starter chose."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""

    def expanded(self, values: macros.Macros, spec: Object) -> Runtime:
        """With macros filled in, where the parameters hold any."""
        filled = macros.typed(macros.expand(self.parameters, values), self.parameters, spec)
        return dataclasses.replace(self, parameters=filled)


async def experiment(deps: Deps, request: Request, body: Object, resource: str) -> Experiment:
    """The experiment that is named, or the namespace's default one; the caller may create ``resource`` in it."""
    given = rest.text(body, "experiment_id") or request.query_params.get("experiment_id", "")
    if not given:
        namespace = request.query_params.get("namespace") or rest.text(body, "namespace") or deps.default_namespace
        await rest.allow(request, "create", resource, namespace)
        return await default(deps, namespace)
    found = await deps.database.read(lambda c: experiments.get(c, given))
    await rest.allow(request, "create", resource, found.namespace)
    said = request.query_params.get("namespace") or rest.text(body, "namespace")
    if said and said != found.namespace:
        raise errors.BadRequest(
            f'experiment "{given}" belongs to the namespace "{found.namespace}", and not to "{said}"',
            remedy="Leave the namespace out, or name an experiment of that namespace")
    return found


async def of(deps: Deps, request: Request, body: Object) -> Source:
    """Where the specification comes from: the body itself, or a pipeline version that the caller may read."""
    reference = rest.child(body, "pipeline_version_reference")
    pipeline_id = rest.text(reference, "pipeline_id")
    version_id = rest.text(reference, "pipeline_version_id") or rest.text(body, "pipeline_version_id")
    spec = body.get("pipeline_spec")
    if spec and (pipeline_id or version_id):
        raise errors.BadRequest("a run is made from a pipeline_spec or from a pipeline version, not from both")
    if isinstance(spec, dict) and spec:
        document.check_size(spec)
        return Source(spec=parse.combine([spec]))
    if not pipeline_id and not version_id:
        raise errors.BadRequest("a run needs a pipeline_spec or a pipeline_version_reference")
    version = await deps.database.read(
        lambda c: pipelines.get_version(c, pipeline_id, version_id) if version_id
        else pipelines.latest_version(c, pipeline_id))
    await rest.allow(request, "get", "pipelines", version.namespace, version.pipeline_id)
    return Source(spec=version.spec, pipeline_id=version.pipeline_id, version_id=version.id, latest=not version_id)


def runtime(body: Object) -> Runtime:
    """The run's parameters and pipeline root."""
    config = rest.child(body, "runtime_config")
    return Runtime(parameters=rest.child(config, "parameters"), root=rest.text(config, "pipeline_root", limit=4096))


def placed(deps: Deps, pipeline: ir.Pipeline, namespace: str, chosen: Runtime) -> Runtime:
    """With the root that the namespace's ConfigMap says, where neither the run nor the pipeline says one.

    Raises ``errors.InvalidInput`` where the ConfigMap cannot be honoured, ``Forbidden`` for another's root.
    """
    config = deps.providers.config(namespace) if deps.providers is not None else launcher_config.NOTHING
    if not chosen.root and not pipeline.default_root:
        chosen = dataclasses.replace(chosen, root=config.root)
    root = folders.root(namespace, chosen.root, pipeline.default_root)
    if not providers.is_own(deps.providers, namespace, root):
        folders.check(namespace, root)
    return chosen


def check(pipeline: ir.Pipeline, chosen: Runtime) -> None:
    """Raises ``errors.InvalidInput`` where the pipeline cannot run with these."""
    try:
        inputs.of_root(pipeline, chosen.parameters)
    except StepError as error:
        raise errors.InvalidInput(error.message, remedy=error.remedy, field="runtime_config.parameters") from error
