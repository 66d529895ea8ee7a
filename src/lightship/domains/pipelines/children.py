"""The Pod of one attempt of a step. Pure; ``reconciler`` creates what I make.

An init container brings the inputs in, ``main`` is the user's own image and command, and a stager beside it waits for
main's end, keeps the outputs and writes the commit record, so that the user's image needs nothing of ours.
"""

from __future__ import annotations

import dataclasses

from lightship import errors
from lightship.domains.pipelines import (
    execution,
    importing,
    inputs,
    ir,
    kubernetes,
    names,
    nodes,
    parse,
    placeholders,
    stagers,
    task_config,
    workspace,
)
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.execution import Execution
from lightship.domains.pipelines.nodes import IMPORTER
from lightship.kube import quantities
from lightship.kube.objects import Object

_UNBUFFERED = "PYTHONUNBUFFERED"
"""Has Python hand on each line that it prints, so that a log is read while its step runs."""


def make_pod(step: Execution, job: placeholders.Job, launcher: stagers.Launcher = stagers.EMBEDDED) -> Object:
    """The Pod, with a name of its own for each attempt. Raises ``StepError`` for what cannot be resolved."""
    if step.node.type == IMPORTER:
        return _make_download(step, job, launcher)
    volumes, mounts = _volumes(step)
    main = _main(step, execution.scope(step, job), mounts)
    ours = {each["name"] for each in (*volumes, *main["env"])} - {name for name, _ in step.container.env}
    pod = _pod(step, volumes, [stagers.container(
        names.STAGE_IN, execution.stage_in_plan(step), mounts, launcher)], [main])
    config = step.pipeline.kubernetes.get(step.node.component.executor)
    if config:
        where = nodes.outer(step.node)
        kubernetes.apply(pod, config, lambda item: inputs.value_of(where, parse.parameter_source(item), job))
    if workspace.needed_by(step.node):
        workspace.mount(pod, main, step.run.run_id)
    _command(main, step, execution.scope(step, job, _configured(step, pod, main, ours)))
    shared = _shared(pod, main, ours)
    plan = execution.stage_out_plan(step)
    plan["mounts"] += [mount["mountPath"] for mount in shared]
    pod["spec"]["containers"].append(stagers.container(names.STAGE_OUT, plan, [*mounts, *shared], launcher))
    pod["spec"]["volumes"] += stagers.volumes(launcher)
    stagers.run_like(main, [pod["spec"]["initContainers"][0], pod["spec"]["containers"][-1]], launcher)
    return pod


def _configured(step: Execution, pod: Object, main: Object, ours: set[str]) -> Object:
    """The component's TASK_CONFIG inputs, if it has any."""
    component = step.node.component
    asking = [name for name, spec in component.inputs.parameters.items() if spec.type == ir.TASK_CONFIG]
    if not component.passthroughs and not asking:
        return {}
    config = task_config.take(pod, main, component.passthroughs, ours)
    return {name: config for name in asking if name not in step.node.parameters}


def _shared(pod: Object, main: Object, ours: set[str]) -> list[Object]:
    """The user's mounts that outputs may lie in: a stager can read them."""
    kept = {volume["name"] for volume in pod["spec"]["volumes"] if volume["name"] not in ours
            and ("persistentVolumeClaim" in volume or "ephemeral" in volume
                 or volume.get("emptyDir", {"medium": "Memory"}).get("medium") != "Memory")}
    return [mount for mount in main["volumeMounts"] if mount["name"] in kept]


def _make_download(step: Execution, job: placeholders.Job, launcher: stagers.Launcher) -> Object:
    """The Pod of an importer that fills the run's workspace."""
    mounts: list[Object] = []
    main = {**stagers.container(names.STAGE_OUT, importing.stage_out_plan(step, job), mounts, launcher),
            "name": names.MAIN}
    stager = stagers.container(names.STAGE_IN, importing.stage_in_plan(step, job), mounts, launcher)
    pod = _pod(step, stagers.volumes(launcher), [stager], [main])
    workspace.mount(pod, main, step.run.run_id)
    stager["volumeMounts"] = main["volumeMounts"]
    return pod


def _pod(step: Execution, volumes: list[Object], before: list[Object], containers: list[Object]) -> Object:
    annotations = {names.PATH_ANNOTATION: step.node.path, names.ATTEMPT_ANNOTATION: str(step.row.attempt),
                   names.FOLDER_ANNOTATION: execution.run_folder(step.run, step.pipeline)}
    kept = dataclasses.asdict(step.pipeline.time_to_live)
    if any(kept.values()):
        annotations[names.TTL_ANNOTATION] = ",".join(f"{ending}={seconds}" for ending, seconds in kept.items())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": step.row.pod,
            "namespace": step.run.namespace,
            "labels": {
                names.RUN_LABEL: step.run.run_id,
                names.COMPONENT_LABEL: "true",
                names.TASK_LABEL: step.row.task_id,
                "app.kubernetes.io/managed-by": "lightship",
            },
            "annotations": annotations,
            "finalizers": [names.FINALIZER],
        },
        "spec": {
            "restartPolicy": "Never",
            "initContainers": before,
            "containers": containers,
            "volumes": volumes,
            "serviceAccountName": step.run.service_account or names.DEFAULT_ACCOUNT,
        },
    }


def _main(step: Execution, scope: placeholders.Scope, mounts: list[Object]) -> Object:
    container, in_pod = step.container, dataclasses.replace(scope, in_pod=True)
    main: Object = {
        "name": names.MAIN,
        "image": placeholders.replaced(container.image, scope),
        "env": [
            *({"name": name, "value": placeholders.replaced(value, in_pod)} for name, value in container.env),
            stagers.field("KFP_POD_NAME", "metadata.name"),
            stagers.field("KFP_POD_UID", "metadata.uid"),
            {"name": "KFP_RUN_ID", "value": step.run.run_id},
            *([] if _UNBUFFERED in dict(container.env) else [{"name": _UNBUFFERED, "value": "1"}]),
        ],
        "volumeMounts": mounts,
    }
    resources = resources_of(container.resources, scope, step.node.path)
    if resources:
        main["resources"] = resources
    return main


def _command(main: Object, step: Execution, scope: placeholders.Scope) -> None:
    in_pod = dataclasses.replace(scope, in_pod=True)
    command = placeholders.command_line(step.container.command, in_pod)
    arguments = placeholders.command_line(step.container.args, in_pod)
    if command:
        main["command"] = command
    if arguments:
        main["args"] = arguments


def _volumes(step: Execution) -> tuple[list[Object], list[Object]]:
    """An emptyDir for each artifact root in use, and one for parameters."""
    volumes, mounts = [], []
    for path in execution.mounts(step):
        scheme = path.strip("/")
        name = {names.OUTPUTS_DIRECTORY: "kfp-outputs", names.SCRATCH: "kfp-outputs", "/minio": "kfp-artifacts"}.get(
            path, f"kfp-artifacts-{scheme}")
        volumes.append({"name": name, "emptyDir": {}})
        mounts.append({"name": name, "mountPath": path})
    return volumes, mounts


def resources_of(wanted: ir.Resources, scope: placeholders.Scope, path: str) -> Object:
    """Requests and limits. Placeholders give strings that only now can be checked."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for where, resource, value in (
        (requests, "cpu", wanted.cpu_request), (requests, "memory", wanted.memory_request),
        (limits, "cpu", wanted.cpu_limit), (limits, "memory", wanted.memory_limit),
    ):
        quantity = placeholders.replaced(value, scope).strip()
        if quantity:
            where[resource] = _quantity(quantity, resource, path)
    count = placeholders.replaced(wanted.accelerator_count, scope).strip()
    kind = placeholders.replaced(wanted.accelerator_type, scope).strip()
    if kind and count and count != "0":
        # A bare vendor name, as Vertex has it, is no resource of Kubernetes: upstream maps it to NVIDIA's.
        limits[kind if "/" in kind else "nvidia.com/gpu"] = _quantity(count, kind, path)
    return {name: found for name, found in (("requests", requests), ("limits", limits)) if found}


def _quantity(text: str, resource: str, path: str) -> str:
    try:
        quantities.parse(text)
    except errors.InvalidInput as cause:
        raise StepError(f'"{path}" asks for {resource} "{text}", which is not a quantity',
                        remedy='Write it as Kubernetes does, such as "500m" or "2Gi"') from cause
    return text
