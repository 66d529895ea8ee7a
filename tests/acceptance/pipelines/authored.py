"""Pipelines for what the corpus lacks, authored with the kfp SDK. ``python authored.py FOLDER`` compiles them all.

``test_authored`` runs me in an environment that has kfp and kfp-kubernetes, and runs what comes out. The name of a
function here is the name of its file. Components hold what they check themselves by assertion where a value would not
tell.
"""

# ruff: noqa: UP006, UP014, UP035, UP045, SIM117, B006 - the SDK reads annotations and control flow as its users write them

import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from kfp import compiler, dsl, kubernetes
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

PIPELINES = []


def authored(function=None, **options):
    """A pipeline of this file."""
    if function is None:
        return lambda real: authored(real, **options)
    PIPELINES.append((function.__name__, dsl.pipeline(function, **options) if options else dsl.pipeline(function)))
    return function


@dsl.component
def echo(text: str) -> str:
    return text


@dsl.component
def number(value: int) -> int:
    return value


@dsl.component
def half(value: float) -> float:
    return value / 2


@dsl.component
def text_of(value: str = "nothing") -> str:
    return value


@dsl.component
def fail(why: str) -> str:
    raise RuntimeError(why)


@dsl.component
def write(text: str, made: Output[Dataset]):
    with open(made.path, "w") as file:
        file.write(text)
    made.metadata["length"] = len(text)


@dsl.component
def read(given: Input[Dataset]) -> str:
    with open(given.path) as file:
        return f"{file.read()}/{given.metadata.get('length')}"


@dsl.component
def read_all(given: List[Dataset]) -> str:
    return ",".join(open(one.path).read() for one in given)


# Conditions: every comparison, of every type, and their combinations.


@authored
def conditions(n: int = 7, f: float = 2.5, s: str = "blue", b: bool = True):
    given = number(value=n)
    with dsl.If(given.output == 7):
        echo(text="int equal").set_display_name("yes-int-equal")
    with dsl.If(given.output != 7):
        echo(text="wrong")
    with dsl.If(given.output >= 7):
        with dsl.If(given.output < 8):
            echo(text="int between")
    with dsl.If(f > 2.25):
        echo(text="float greater")
    with dsl.If(f <= 2):
        echo(text="wrong")
    with dsl.If(s == "blue"):
        echo(text="string equal")
    with dsl.If(s == 'two "words"'):
        echo(text="wrong")
    with dsl.If(b == True):  # noqa: E712 - the SDK needs a comparison
        echo(text="bool equal")
    with dsl.If(n > f):
        echo(text="int greater than float")


@authored
def branches(n: int = 5) -> NamedTuple("Outputs", [("size", str), ("file", Dataset)]):
    with dsl.If(n > 100, "big"):
        said = echo(text="big")
        made = write(text="big file")
    with dsl.Elif(n > 3, "middle"):
        said_2 = echo(text="middle")
        made_2 = write(text="middle file")
    with dsl.Else("small"):
        said_3 = echo(text="small")
        made_3 = write(text="small file")
    size = dsl.OneOf(said.output, said_2.output, said_3.output)
    file = dsl.OneOf(made.outputs["made"], made_2.outputs["made"], made_3.outputs["made"])
    echo(text=size)
    read(given=file)
    return NamedTuple("Outputs", [("size", str), ("file", Dataset)])(size, file)


# Loops: over what, nested how, and what comes out.


@dsl.component
def make_points() -> List[Dict[str, int]]:
    return [{"x": 1, "y": 2}, {"x": 3, "y": 4}]


@dsl.component
def make_table() -> List[List[str]]:
    return [["a", "b"], ["c"]]


@dsl.component
def add(a: int, b: int) -> int:
    assert isinstance(a, int) and isinstance(b, int), (a, b)
    return a + b


@dsl.component
def total(numbers: List[int]) -> int:
    return sum(numbers)


@dsl.component
def flat(rows: List[List[str]]) -> str:
    return ";".join("".join(row) for row in rows)


@dsl.pipeline
def doubled(n: int) -> int:
    return add(a=n, b=n).output


@authored
def loops(items: List[int] = [1, 2, 3], none: List[str] = []) -> NamedTuple(
        "Outputs", [("sum", int), ("rows", str), ("files", str)]):
    points = make_points()
    with dsl.ParallelFor(points.output) as point:
        summed = add(a=point.x, b=point.y)
    total(numbers=dsl.Collected(summed.output))
    with dsl.ParallelFor(items, parallelism=1) as item:
        twice = doubled(n=item)
        with dsl.If(item != 2):
            made = write(text="chosen")
    found = total(numbers=dsl.Collected(twice.output))
    files = read_all(given=dsl.Collected(made.outputs["made"]))
    table = make_table()
    with dsl.ParallelFor(table.output) as row:
        with dsl.ParallelFor(row) as cell:
            said = echo(text=cell)
    rows = flat(rows=dsl.Collected(said.output))
    with dsl.ParallelFor(none) as nothing:
        echo(text=nothing)
    return NamedTuple("Outputs", [("sum", int), ("rows", str), ("files", str)])(
        found.output, rows.output, files.output)


@authored
def structs(config: Dict[str, int] = {"depth": 3}, groups: List[Dict[str, List[str]]] = [{"names": ["ada"]}]):
    with dsl.ParallelFor(groups) as group:
        with dsl.ParallelFor(group.names) as name:
            echo(text=name)
    with dsl.ParallelFor([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]) as pair:
        number(value=pair.a)


@authored
def literals():
    with dsl.ParallelFor([[1, 2], [3]]) as row:
        with dsl.ParallelFor(row) as cell:
            number(value=cell)
    with dsl.ParallelFor([{"a": 1, "b": [4, 5]}, {"a": 2, "b": [6]}]) as entry:
        number(value=entry.a)
        with dsl.ParallelFor(entry.b) as part:
            number(value=part)
    with dsl.ParallelFor(["1", 2, 3.5]) as mixed:
        echo(text=mixed)


# Inputs: optional, null, defaults, numbers that look like others.


@dsl.component
def optional(a: Optional[str] = None, b: str = "default", c: Optional[int] = None, d: Optional[dict] = None) -> str:
    return f"{a}|{b}|{c}|{d}"


@dsl.pipeline
def inner(a: Optional[str] = None, b: str = "inner default", c: Optional[int] = 4) -> str:
    return optional(a=a, b=b, c=c).output


@dsl.component
def maybe(given: Optional[Input[Dataset]] = None) -> str:
    return "nothing" if given is None else open(given.path).read()


@authored
def optionals(a: Optional[str] = None, zero: int = 0, empty: str = "", no: bool = False) -> str:
    optional()
    optional(a=empty, b=empty, c=zero)
    inner()
    inner(a=a, c=zero)
    maybe()
    maybe(given=write(text="something").outputs["made"])
    with dsl.If(no == False):  # noqa: E712
        echo(text="not no")
    return inner(a="set", b="too").output


@dsl.component
def types(i: int, f: float, s: str, b: bool, l: list, d: dict) -> NamedTuple(  # noqa: E741
        "Outputs", [("i", int), ("f", float), ("s", str), ("b", bool), ("l", list), ("d", dict)]):
    outputs = NamedTuple("Outputs", [("i", int), ("f", float), ("s", str), ("b", bool), ("l", list), ("d", dict)])
    return outputs(i, f, s, b, l, d)


@dsl.container_component
def rendered(i: int, f: float, s: str, b: bool, l: list, d: dict, out: dsl.OutputPath(str)):  # noqa: E741
    return dsl.ContainerSpec(image="busybox", command=["sh", "-c", 'mkdir -p $(dirname $0); printf "%s\\n" "$@" > $0'],
                             args=[out, i, f, s, b, l, d, dsl.ConcatPlaceholder(["<", s, ">"]),
                                   dsl.IfPresentPlaceholder(input_name="i", then=["i is", i], else_=["no i"])])


@authored
def typed(i: int = 9007199254740991, f: float = 1e-07, s: str = "ü {{$}} $(X) 'q'", b: bool = False,
          l: list = [1, 2.5, "", {"k": []}], d: dict = {"b": 1, "a": {"n": [True]}}):  # noqa: E741
    given = types(i=i, f=f, s=s, b=b, l=l, d=d)
    rendered(i=given.outputs["i"], f=given.outputs["f"], s=given.outputs["s"], b=given.outputs["b"],
             l=given.outputs["l"], d=given.outputs["d"])
    half(value=4.0)


# Placeholders of the job and the task.


@dsl.component
def job(name: str, resource: str, uuid: str, task: str, task_id: str, created: str, scheduled: str) -> str:
    assert uuid and task_id and created.endswith("Z") and scheduled.endswith("Z"), (uuid, task_id, created, scheduled)
    assert resource.startswith("placeholders-"), resource
    return f"{name} {task}"


@authored
def placeholders() -> str:
    return job(name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
               uuid=dsl.PIPELINE_JOB_ID_PLACEHOLDER, task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
               task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER, created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
               scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER).output


# Exits, ignored failures, retries.


@dsl.component
def told(status: PipelineTaskFinalStatus, note: str) -> str:
    return f"{note}: {status.pipeline_task_name} {status.state} {(status.error_message or '')[:13]}"


@authored
def exits():
    with dsl.ExitHandler(told(note="handled")):
        broken = fail(why="on purpose")
        echo(text=broken.output)
    also = fail(why="on purpose, too")
    text_of(value=also.output).ignore_upstream_failure()
    text_of(value="after all").after(also).ignore_upstream_failure()


@dsl.component
def flaky(place: str) -> str:
    import os
    count = len(os.listdir(place))
    with open(os.path.join(place, str(count)), "w"):
        pass
    if count < 2:
        raise RuntimeError(f"attempt {count}")
    return f"attempt {count}"


@dsl.component
def prepare(folder: str):
    import os
    os.makedirs(folder)


@dsl.component
def letters_of(given: Input[Dataset]) -> str:
    import os
    assert given.path.startswith("/kfp-workspace/.artifacts/"), given.path
    assert given.metadata["language"] == "en", given.metadata
    return " ".join(sorted(os.listdir(given.path)))


@authored(pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(
    size="10Mi", kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={"accessModes": ["ReadWriteMany"]}))))
def workspace(uri: str = "minio://mlpipeline/imported/letters"):
    tried = flaky(place=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/tries")
    tried.set_retry(3, backoff_duration="0s", backoff_factor=1)
    tried.after(prepare(folder=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/tries"))
    letters = dsl.importer(artifact_uri=uri, artifact_class=Dataset, download_to_workspace=True,
                           metadata={"language": "en"})
    letters_of(given=letters.output)


# Artifacts: custom paths, metrics, importers, embedded ones, made by hand.


@dsl.component
def custom(made: Output[Model], note: Output[Artifact]):
    import os
    os.makedirs("/tmp/mine", exist_ok=True)
    made.custom_path = "/tmp/mine/model.txt"
    with open(made.path, "w") as file:
        file.write("weights")
    made.metadata["layers"] = [1, 2]
    made.framework = "none"
    note.uri = note.uri + "-elsewhere"
    with open(note.path, "w") as file:
        file.write("moved")


@dsl.component
def escape(made: Output[Model]):
    made.custom_path = "/etc/hostname"


@dsl.component
def content(model: Input[Model], note: Input[Artifact]) -> str:
    return f"{open(model.path).read()} {model.framework} {model.metadata['layers']} {open(note.path).read()}"


@dsl.component
def measure(metrics: Output[Metrics]):
    metrics.log_metric("accuracy", 0.75)
    metrics.log_metric("epochs", 3)


@authored
def artifacts(uri: str = "minio://mlpipeline/imported/letters/a.txt") -> Metrics:
    made = custom()
    content(model=made.outputs["made"], note=made.outputs["note"])
    given = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False, metadata={"length": 1})
    read(given=given.output)
    return measure().outputs["metrics"]


@authored
def escapes():
    escape()


@dsl.component(embedded_artifact_path=__file__)
def embedded(source: dsl.EmbeddedInput[Dataset]) -> bool:
    return "embedded_artifact_path" in open(source.path).read()


@authored
def embeds() -> bool:
    return embedded().output


# What a component takes of its task's own configuration.


@dsl.component(task_config_passthroughs=[
    dsl.TaskConfigField.RESOURCES, dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True)])
def configured(task_config: dsl.TaskConfig) -> dict:
    import os
    return {"resources": task_config.resources, "env": task_config.env, "selector": task_config.node_selector,
            "tolerations": task_config.tolerations, "mine": os.environ.get("COLOUR")}


@authored
def passthrough() -> dict:
    task = configured().set_cpu_limit("64").set_memory_request("4Gi").set_env_variable("COLOUR", "blue")
    kubernetes.add_node_selector(task, label_key="disk", label_value="of-another-node")
    return task.output


if __name__ == "__main__":
    for name, pipeline in PIPELINES:
        compiler.Compiler().compile(pipeline, str(Path(sys.argv[1]) / f"{name}.yaml"))
