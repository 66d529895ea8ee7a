"""From a pipeline file's JSON data to ``ir`` types: each field read with its place, each wrong one refused by name.

The REST routes (upload, create run) and the engine call me. I check shapes; ``validate`` checks how parts fit together,
and I call it last, so that whoever holds a ``Pipeline`` holds a valid one.
"""

from __future__ import annotations

import json
from typing import Any

from lightship import errors
from lightship.domains.pipelines import document, ir, kubernetes, placeholders, validate
from lightship.domains.pipelines.document import Reader
from lightship.kube import quantities
from lightship.kube.objects import Object

_OLD_TYPES = {"INT": ir.NUMBER_INTEGER, "DOUBLE": ir.NUMBER_DOUBLE, "STRING": ir.STRING}
_UNSUPPORTED_EXECUTORS = {"resolver": "a resolver", "customJob": "a custom job"}


def file(data: bytes) -> ir.Pipeline:
    """The pipeline in a file of one or two documents. Raises ``InvalidPipeline``."""
    return spec(combine(document.load(data)))


def combine(documents: list[dict[str, Any]]) -> Object:
    """One or two documents as ``{"pipeline_spec": ..., "platform_spec": ...}``, the shape that runs are stored with."""
    combined: Object = {}
    for part in documents:
        inner = part.get("pipeline_spec") or part.get("pipelineSpec")
        if inner is not None:
            combined["pipeline_spec"] = inner
            platform = part.get("platform_spec") or part.get("platformSpec")
            if platform:
                combined["platform_spec"] = platform
        elif "platforms" in part:
            combined["platform_spec"] = part
        elif "pipeline_spec" in combined:
            raise document.wrong("the second document", "is neither a pipeline spec nor a platform spec")
        else:
            combined["pipeline_spec"] = part
    return combined


def spec(stored: Object) -> ir.Pipeline:
    """A pipeline from its stored form (or from a bare pipeline spec). Raises ``InvalidPipeline``."""
    if "pipeline_spec" not in stored and "pipelineSpec" not in stored:
        stored = combine([stored])
    body = Reader.of(stored.get("pipeline_spec") or stored.get("pipelineSpec"), "")
    if not body.has("root"):
        raise document.wrong("root", "is missing: this is not a compiled KFP v2 pipeline",
                             "Compile with kfp.compiler.Compiler().compile(...) of SDK 2")
    platform = Reader.of(stored.get("platform_spec") or stored.get("platformSpec"), "platform_spec")
    info = body.child("pipelineInfo")
    name = info.text("name") or "pipeline"
    on_kubernetes = platform.child("platforms").child("kubernetes")
    config = on_kubernetes.child("pipelineConfig").only(kubernetes.PIPELINE_FIELDS)
    pipeline = ir.Pipeline(
        name=name,
        display_name=info.text("displayName") or name,
        description=info.text("description"),
        components={key: _component(key, item) for key, item in body.entries("components")},
        executors={key: _executor(item) for key, item in body.child("deploymentSpec").entries("executors")},
        root=_component("root", body.child("root")),
        default_root=body.text("defaultPipelineRoot"),
        kubernetes={key: item.only(kubernetes.FIELDS).value
                    for key, item in on_kubernetes.child("deploymentSpec").entries("executors")},
        deadline_seconds=max(0, config.integer("activeDeadlineSeconds")),
        workspace=_workspace(config.child("workspace")) if config.has("workspace") else None,
        time_to_live=ir.TimeToLive(**{kind: max(0, config.integer(f"resourceTtlOn{kind.capitalize()}"))
                                      for kind in ("success", "failure", "completion")}),
        schema_version=body.text("schemaVersion"),
        sdk_version=body.text("sdkVersion"),
    )
    validate.check(pipeline)
    return pipeline


def _component(name: str, item: Reader) -> ir.Component:
    executor = item.text("executorLabel")
    has_dag = item.has("dag")
    if has_dag == bool(executor):
        raise item.fail("dag", f'of the component "{name}" must be there, or its executorLabel, and not both')
    return ir.Component(
        name=name,
        inputs=_interface(item.child("inputDefinitions")),
        outputs=_interface(item.child("outputDefinitions")),
        dag=_dag(item.child("dag")) if has_dag else None,
        executor=executor,
        passthroughs=_passthroughs(item),
    )


def _workspace(item: Reader) -> ir.Workspace:
    size = item.text("size")
    if not size:
        raise item.fail("size", "is missing", "Say how much the run's workspace is to hold, such as 10Gi")
    try:
        quantities.parse(size)
    except errors.InvalidInput as cause:
        raise item.fail("size", f'is "{size}", which is not a quantity', "Write it such as 10Gi") from cause
    return ir.Workspace(size=size, claim=item.child("kubernetes").child("pvcSpecPatch").value)


def _passthroughs(item: Reader) -> dict[str, bool]:
    found = {}
    for entry in item.items("taskConfigPassthroughs"):
        name = entry.text("field")
        if name not in ir.PASSTHROUGHS:
            raise entry.fail("field", f'is "{name}"; there are {", ".join(sorted(ir.PASSTHROUGHS))}')
        found[name] = entry.flag("applyToTask")
    return found


def _interface(item: Reader) -> ir.Interface:
    return ir.Interface(
        parameters={key: _parameter_spec(entry) for key, entry in item.entries("parameters")},
        artifacts={key: _artifact_spec(entry) for key, entry in item.entries("artifacts")},
    )


def _parameter_spec(item: Reader) -> ir.ParameterSpec:
    old = item.text("type")
    kind = item.text("parameterType") or _OLD_TYPES.get(old, old)
    if kind not in ir.PARAMETER_TYPES:
        raise item.fail("parameterType", f'is "{kind}"; the types are {", ".join(sorted(ir.PARAMETER_TYPES))}')
    return ir.ParameterSpec(
        type=kind,
        default=item.raw("defaultValue"),
        optional=item.flag("isOptional") or item.has("defaultValue"),
        literals=tuple(item.list("literals")),
        description=item.text("description"),
    )


def _artifact_spec(item: Reader) -> ir.ArtifactSpec:
    title, version = _artifact_type(item.child("artifactType"))
    return ir.ArtifactSpec(
        title=title,
        version=version,
        is_list=item.flag("isArtifactList"),
        optional=item.flag("isOptional"),
        metadata=item.child("metadata").value,
        description=item.text("description"),
    )


def _artifact_type(item: Reader) -> tuple[str, str]:
    title = item.text("schemaTitle") or item.text("schemaUri") or item.text("instanceSchema") or "system.Artifact"
    return title, item.text("schemaVersion") or "0.0.1"


def _dag(item: Reader) -> ir.Dag:
    outputs = item.child("outputs")
    return ir.Dag(
        tasks={key: _task(key, entry) for key, entry in item.entries("tasks")},
        parameters={key: _parameter_selectors(entry) for key, entry in outputs.entries("parameters")},
        artifacts={key: tuple(_artifact_output(selector, "producerSubtask")
                              for selector in entry.items("artifactSelectors"))
                   for key, entry in outputs.entries("artifacts")},
    )


def _parameter_selectors(item: Reader) -> tuple[ir.TaskOutput, ...]:
    if item.has("valueFromParameter"):
        return (_parameter_output(item.child("valueFromParameter"), "producerSubtask"),)
    if item.has("valueFromOneof"):
        return tuple(_parameter_output(selector, "producerSubtask")
                     for selector in item.child("valueFromOneof").items("parameterSelectors"))
    raise item.fail("valueFromParameter", "is missing, and so is valueFromOneof")


def _parameter_output(item: Reader, producer: str) -> ir.TaskOutput:
    return ir.TaskOutput(producer=item.text(producer), key=item.text("outputParameterKey"))


def _artifact_output(item: Reader, producer: str) -> ir.TaskOutput:
    return ir.TaskOutput(producer=item.text(producer), key=item.text("outputArtifactKey"))


def _task(name: str, item: Reader) -> ir.Task:
    inputs = item.child("inputs")
    parameters = {key: _parameter_input(entry) for key, entry in inputs.entries("parameters")}
    artifacts = {key: _artifact_input(entry) for key, entry in inputs.entries("artifacts")}
    component = item.child("componentRef").text("name")
    if not component:
        raise item.fail("componentRef.name", "is missing")
    policy, caching = item.child("triggerPolicy"), item.child("cachingOptions")
    return ir.Task(
        name=name,
        display_name=item.child("taskInfo").text("name") or name,
        component=component,
        parameters=parameters,
        artifacts=artifacts,
        upstream=_upstream(item.strings("dependentTasks"), parameters, artifacts),
        condition=policy.text("condition"),
        run_always=_runs_always(policy),
        iterator=_iterator(item),
        retry=_retry(item.child("retryPolicy")) if item.has("retryPolicy") else None,
        cache=caching.flag("enableCache"),
        cache_key=caching.text("cacheKey"),
    )


def _runs_always(policy: Reader) -> bool:
    strategy = policy.text("strategy")
    if strategy not in ("", "TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED",
                        "ALL_UPSTREAM_TASKS_COMPLETED"):
        raise policy.fail("strategy", f'is "{strategy}", which is not a trigger strategy')
    return strategy == "ALL_UPSTREAM_TASKS_COMPLETED"


def _upstream(declared: tuple[str, ...], parameters: dict[str, ir.ParameterInput],
              artifacts: dict[str, ir.ArtifactSource]) -> tuple[str, ...]:
    producers = dict.fromkeys(declared)
    for parameter in parameters.values():
        if isinstance(parameter.source, (ir.TaskOutput, ir.FinalStatus)):
            producers[parameter.source.producer] = None
    for artifact in artifacts.values():
        if isinstance(artifact, ir.TaskOutput):
            producers[artifact.producer] = None
    return tuple(producers)


def _parameter_input(item: Reader) -> ir.ParameterInput:
    return ir.ParameterInput(source=parameter_source(item), selector=item.text("parameterExpressionSelector"))


def parameter_source(item: Reader) -> ir.ParameterSource:
    """An InputParameterSpec's source; the platform config has them too."""
    if item.has("taskOutputParameter"):
        return _parameter_output(item.child("taskOutputParameter"), "producerTask")
    if item.has("componentInputParameter"):
        return ir.ComponentInput(name=item.text("componentInputParameter"))
    if item.has("taskFinalStatus"):
        return ir.FinalStatus(producer=item.child("taskFinalStatus").text("producerTask"))
    if item.raw("runtimeValue") is not None:
        return _value(item.child("runtimeValue"))
    raise document.wrong(item.place, "has no source: taskOutputParameter, componentInputParameter, runtimeValue or "
                                     "taskFinalStatus")


def _value(item: Reader) -> ir.Constant | ir.ComponentInput:
    """A ValueOrRuntimeParameter, deprecated forms included."""
    if item.has("runtimeParameter"):
        return ir.ComponentInput(name=item.text("runtimeParameter"))
    if item.has("constantValue"):
        old = item.child("constantValue")
        if old.has("intValue"):
            return ir.Constant(value=old.integer("intValue"))
        if old.has("doubleValue"):
            return ir.Constant(value=old.number("doubleValue"))
        return ir.Constant(value=old.text("stringValue"))
    return ir.Constant(value=item.raw("constant"))


def _artifact_input(item: Reader) -> ir.ArtifactSource:
    if item.has("taskOutputArtifact"):
        return _artifact_output(item.child("taskOutputArtifact"), "producerTask")
    if item.has("componentInputArtifact"):
        return ir.ComponentInput(name=item.text("componentInputArtifact"))
    raise document.wrong(item.place, "has no source: taskOutputArtifact or componentInputArtifact")


def _iterator(item: Reader) -> ir.Iterator | None:
    parallelism = item.child("iteratorPolicy").integer("parallelismLimit")
    if item.has("artifactIterator"):
        iterator = item.child("artifactIterator")
        return ir.Iterator(over="artifact", item_input=iterator.text("itemInput"), parallelism=parallelism,
                           input=iterator.child("items").text("inputArtifact"))
    if not item.has("parameterIterator"):
        return None
    iterator = item.child("parameterIterator")
    items = iterator.child("items")
    raw = None
    if items.has("raw"):
        try:
            raw = json.loads(items.text("raw"))
        except (ValueError, RecursionError):
            raise items.fail("raw", "is not JSON") from None
        if not isinstance(raw, list):
            raise items.fail("raw", "is not a JSON list")
    return ir.Iterator(over="parameter", item_input=iterator.text("itemInput"), parallelism=parallelism,
                       raw=None if raw is None else tuple(raw), input=items.text("inputParameter"))


def _retry(item: Reader) -> ir.Retry:
    return ir.Retry(
        max_count=item.integer("maxRetryCount"),
        backoff_seconds=item.duration_seconds("backoffDuration", 0.0),
        factor=item.number("backoffFactor") or 2.0,
        max_seconds=item.duration_seconds("backoffMaxDuration", 3600.0),
    )


def _executor(item: Reader) -> ir.Container | ir.Importer:
    for name, story in _UNSUPPORTED_EXECUTORS.items():
        if item.has(name):
            raise item.fail(name, f"asks for {story}, which upstream's Kubernetes backend does not run either",
                            "Use a container component or an importer")
    if item.has("importer"):
        return _importer(item.child("importer"))
    if not item.has("container"):
        raise item.fail("container", "is missing, and so is importer")
    container = item.child("container")
    if container.has("lifecycle"):
        raise container.fail("lifecycle", "asks for a pre-cache check, which is not supported",
                             "Remove it, or set a cache key of the task's own")
    return ir.Container(
        image=container.text("image"),
        command=tuple(placeholders.decode(text) for text in container.strings("command")),
        args=tuple(placeholders.decode(text) for text in container.strings("args")),
        env=tuple((entry.text("name"), entry.text("value")) for entry in container.items("env")),
        resources=_resources(container.child("resources")),
    )


def _importer(item: Reader) -> ir.Importer:
    title, version = _artifact_type(item.child("typeSchema"))
    return ir.Importer(
        uri=_value(item.child("artifactUri")),
        title=title,
        version=version,
        reimport=item.flag("reimport"),
        metadata=item.child("metadata").value,
        download_to_workspace=item.flag("downloadToWorkspace"),
    )


def _resources(item: Reader) -> ir.Resources:
    accelerator = item.child("accelerator")
    count = accelerator.text("resourceCount") or (str(accelerator.integer("count")) if accelerator.has("count") else "")
    return ir.Resources(
        cpu_request=item.text("resourceCpuRequest") or item.text("cpuRequest"),
        cpu_limit=item.text("resourceCpuLimit") or item.text("cpuLimit"),
        memory_request=item.text("resourceMemoryRequest") or _gigabytes(item, "memoryRequest"),
        memory_limit=item.text("resourceMemoryLimit") or _gigabytes(item, "memoryLimit"),
        accelerator_type=accelerator.text("resourceType") or accelerator.text("type"),
        accelerator_count=count,
    )


def _gigabytes(item: Reader, name: str) -> str:
    """The deprecated memory fields count gigabytes."""
    return f"{int(item.number(name) * 1000)}M" if item.has(name) else ""
