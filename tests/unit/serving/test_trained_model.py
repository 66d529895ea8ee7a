"""TrainedModels: what is accepted, what their service's agents are told, and the agent against a real server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lightship.artifacts.cache import Cache
from lightship.artifacts.local import LocalStore
from lightship.domains.serving import agent, names
from lightship.domains.serving.entrypoints import Fetching
from lightship.domains.serving.inference_service import admission as service_admission
from lightship.domains.serving.places import Platform
from lightship.domains.serving.trained_model import admission, pods
from lightship.domains.serving.trained_model.decide import Observed, decide
from lightship.kube import conditions
from lightship.kube.objects import Object
from lightship.testing.clock import FakeClock

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def service(*, ready: bool = True, **model: Any) -> Object:
    return service_admission.default({
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": "many", "namespace": "default", "uid": "u"},
        "spec": {"predictor": {"sklearn": model}},
        "status": {"url": "http://g/serving/default/many", "address": {"url": "http://many"},
                   "conditions": [{"type": "Ready", "status": str(ready)}]}})


def model(name: str, memory: str = "1Gi", uri: str = "minio://b/m", made: int = 1) -> Object:
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "TrainedModel",
            "metadata": {"name": name, "namespace": "default", "creationTimestamp": f"2026-01-0{made}T00:00:00Z"},
            "spec": {"inferenceService": "many",
                     "model": {"framework": "sklearn", "memory": memory, "storageUri": uri}}}


def test_what_is_refused() -> None:
    assert not admission.validate(model("a"), model("a"))
    for bad, path in ((model("a.b"), "metadata.name"), (model("a", uri="nothing"), "spec.model.storageUri"),
                      (model("a", memory="lots"), "spec.model.memory")):
        assert [problem.path for problem in admission.validate(bad, None)] == [path]
    assert [problem.message for problem in admission.validate(model("a", "2Gi"), model("a", "1Gi"))] == [
        "the memory of a model cannot be changed"]


@pytest.mark.parametrize(("predictor", "several"), [
    ({"model": {"modelFormat": {"name": "sklearn"}}}, True),
    ({"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}}, False),
    ({"model": {"modelFormat": {"name": "sklearn"}, "storage": {"path": "m"}}}, False),
    ({"model": {"modelFormat": {"name": "sklearn"}}, "storageUris": [{"uri": "s3://b/m"}]}, False),
    ({"model": {"modelFormat": {"name": "huggingface"}}}, False),
    ({"containers": [{"image": "x"}]}, False),
])
def test_which_predictors_are_servers_of_several_models(predictor: Object, several: bool) -> None:
    assert pods.several_models(predictor) is several


def test_the_list_and_the_memory() -> None:
    models = [model("late", made=3), model("first", made=1), model("big", "1.5Gi", made=2)]
    plan = decide(Observed(service=service(), models=models, loaded={"first": "", "late": "", "big": "it waits"}), NOW)
    assert plan.config is not None
    assert plan.config["metadata"]["name"] == "modelconfig-many-0"
    assert [one["modelName"] for one in json.loads(plan.config["data"]["models.json"])] == ["first", "late"]
    told = {name: conditions.find({"status": status}, "Ready") or {} for name, status in plan.statuses.items()}
    assert told["first"]["status"] == told["late"]["status"] == "True"
    assert told["big"]["reason"] == "MemoryResourceNotAvailable"
    assert plan.statuses["first"]["url"] == "http://g/serving/default/many/v1/models/first:predict"
    assert plan.statuses["first"]["address"]["url"] == "http://many/v1/models/first:predict"
    again = decide(Observed(service=service(), models=[m | {"status": plan.statuses[m["metadata"]["name"]]}
                                                       for m in models],
                            loaded={"first": "", "late": "", "big": "it waits"}), datetime(2027, 1, 1, tzinfo=UTC))
    assert again.statuses == plan.statuses


@pytest.mark.parametrize(("parent", "loaded", "reason"), [
    (None, "", "InferenceServiceNotReady"),
    (service(ready=False), "", "InferenceServiceNotReady"),
    (service(storageUri="s3://b/m"), "", "IsNotMMSPredictor"),
    (service(), "not there", "ModelNotLoaded"),
])
def test_why_a_model_is_not_ready(parent: Object | None, loaded: str, reason: str) -> None:
    plan = decide(Observed(service=parent, models=[model("a")], loaded={"a": loaded}), NOW)
    assert (conditions.find({"status": plan.statuses["a"]}, "Ready") or {})["reason"] == reason


class Server:
    """A model server's repository API that notes what it was asked, and can refuse."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split()[1].removeprefix("/v2/repository/models/"))
        status, body = (503, b'{"error": "broken"}') if self.refuses else (200, b"{}")
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body))
        writer.close()


class Pod:
    """A Pod with an agent and a server."""

    def __init__(self, root: Path) -> None:
        self.models, self.config = root / "models", root / "config"
        self.models.mkdir()
        self.config.mkdir()
        self.container: Any = {"volumeMounts": [{"name": "m", "mountPath": names.MODEL_DIRECTORY}]}
        self.pod: Any = {"metadata": {"namespace": "default"}, "spec": {"containers": []}}
        self.env: dict[str, str] = {}
        self.arguments = (names.MODEL_DIRECTORY, pods.CONFIG_DIRECTORY)
        self.lines: list[str] = []
        self.server = Server()
        self.port = 0
        self.clock = FakeClock()
        self.store = LocalStore(root / "store", durable=False)
        self._fetching = Fetching(cache=Cache(root / "cache"), platform=Platform(stores=self.store))

    def path(self, container_path: str) -> Path:
        return {names.MODEL_DIRECTORY: self.models, pods.CONFIG_DIRECTORY: self.config}[container_path]

    def log(self, line: str) -> None:
        self.lines.append(line)

    async def dial(self, port: int) -> socket.socket:
        assert port == names.HTTP_PORT
        made = socket.socket()
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        return made

    def agent(self) -> agent._Agent:
        return agent._Agent(self._fetching, self, self.clock, self.models, self.config)

    def list(self, **uris: str) -> None:
        (self.config / "models.json").write_text(json.dumps([
            {"modelName": name, "modelSpec": {"storageUri": uri, "framework": "sklearn", "memory": "1Gi"}}
            for name, uri in uris.items()]))

    def tree(self) -> dict[str, bytes]:
        return {path.relative_to(self.models).as_posix(): path.read_bytes() for path in self.models.rglob("*")
                if path.is_file()}


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    made = Pod(tmp_path)
    listener = await asyncio.start_server(made.server.serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()


async def test_models_come_change_and_go(pod: Pod) -> None:
    await pod.store.put("minio://b/1/old", b"1")
    await pod.store.put("minio://b/2/new", b"2")
    working = pod.agent()
    await working.look()  # the list is not there yet
    pod.list(a="minio://b/1", b="minio://b/2")
    for _ in range(3):
        await working.look()
    assert pod.server.asked == ["a/load", "b/load"]
    assert pod.tree() == {"a/old": b"1", "b/new": b"2"}
    pod.list(a="minio://b/2")
    await working.look()
    assert pod.server.asked[2:] == ["b/unload", "a/load"]
    assert pod.tree() == {"a/new": b"2"}


async def test_what_fails_is_tried_again_with_pauses(pod: Pod) -> None:
    await pod.store.put("minio://b/1/m", b"1")
    working = pod.agent()
    pod.server.refuses = True
    pod.list(a="minio://b/1", none="minio://b/none")
    for _ in range(5):
        await working.look()
    assert pod.server.asked == ["a/load"]  # the pause has not passed
    assert any("503" in line and "broken" in line for line in pod.lines)
    assert any("nothing lies at minio://b/none" in line for line in pod.lines)
    pod.server.refuses = False
    await pod.clock.advance(agent.FIRST_PAUSE_SECONDS + 1)
    await working.look()
    assert pod.server.asked == ["a/load", "a/load"]
    assert "a is loaded" in pod.lines


async def test_a_failed_new_version_leaves_the_old_one(pod: Pod) -> None:
    await pod.store.put("minio://b/1/m", b"1")
    working = pod.agent()
    pod.list(a="minio://b/1")
    await working.look()
    pod.list(a="minio://b/none")
    await working.look()
    assert pod.tree() == {"a/m": b"1"}
    assert pod.server.asked == ["a/load"]


async def test_names_that_lead_elsewhere_are_left_out(pod: Pod) -> None:
    working = pod.agent()
    pod.list(**{"../a": "minio://b/1", ".b": "minio://b/1"})
    await working.look()
    assert working.models == {}
