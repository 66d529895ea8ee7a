"""Two namespaces on one platform: neither reads the other's artifacts, by importer, by output, or by a forged Pod."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from lightship import errors
from lightship.artifacts import tenancy
from lightship.domains.pipelines import names
from lightship.domains.pipelines.garbage import Collector
from lightship.kube.objects import Key
from lightship.kube.resources import NAMESPACES, PODS
from lightship.lib import clock as clocks
from lightship.records import run_history
from tests.acceptance.pipelines.harness import Finished, Platform

pytestmark = pytest.mark.asyncio(loop_scope="session")
TEAM = "team-b"
SECRET = f"{tenancy.default_root('default')}/p/run-of-a/train/1/secret"
ARTIFACT = {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def secret(shared_platform: Platform) -> None:
    """A namespace beside ``default``, and content that is the latter's."""
    client = shared_platform.client("tests")
    try:
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}})
    except errors.AlreadyExists:
        return
    await shared_platform.artifacts.put(SECRET, b"the secret of default")


def step(script: str) -> dict[str, Any]:
    return {"container": {"image": "alpine", "command": ["sh", "-ec", script]}}


def pipeline(executors: dict[str, Any], **tasks: Any) -> bytes:
    components = {f"comp-{name}": {
        "executorLabel": name, "outputDefinitions": {"artifacts": {"out": ARTIFACT}},
        **({"inputDefinitions": {"artifacts": {"given": ARTIFACT}}} if name == "use" else {})} for name in executors}
    given = {"inputs": {"artifacts": {"given": {"taskOutputArtifact": {
        "producerTask": "make", "outputArtifactKey": "out"}}}}, "dependentTasks": ["make"]}
    return json.dumps({
        "pipelineInfo": {"name": "tenants"}, "schemaVersion": "2.1.0", "components": components,
        "deploymentSpec": {"executors": executors},
        "root": {"dag": {"tasks": {name: {
            "componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": name},
            "cachingOptions": {"enableCache": True}, **(given if name == "use" else {})}
            for name in executors}}}}).encode()


def imported(uri: str) -> bytes:
    return pipeline({"make": {"importer": {"artifactUri": {"constant": uri}, "typeSchema": {
        "schemaTitle": "system.Artifact"}}}})


async def run(place: Platform, data: bytes, namespace: str = TEAM) -> Finished:
    return await place.finish(await place.submit(data, namespace=namespace))


async def test_an_importer_cannot_name_what_belongs_to_another(shared_platform: Platform) -> None:
    for uri in (SECRET, "minio://mlpipeline/v2", "minio://mlpipeline/private-artifacts/team-a/x"):
        done = await run(shared_platform, imported(uri))
        assert done.run.state == "FAILED"
        assert "belongs to another" in done.task("make").error
    assert (await run(shared_platform, imported(SECRET), "default")).run.state == "SUCCEEDED"


async def test_a_namespaces_own_artifacts_lie_under_its_own_root(shared_platform: Platform) -> None:
    write = step('mkdir -p "$(dirname {{$.outputs.artifacts[\'out\'].path}})"; echo mine > '
                 "{{$.outputs.artifacts['out'].path}}")
    read = step("test \"$(cat {{$.inputs.artifacts['given'].path}})\" = mine")
    done = await run(shared_platform, pipeline({"make": write, "use": read}))
    assert done.run.state == "SUCCEEDED", {path: task.error for path, task in done.tasks.items()}
    assert done.task("make").outputs.artifacts["out"][0].uri.startswith(f"{tenancy.default_root(TEAM)}/tenants/")


async def test_an_output_cannot_name_what_belongs_to_another(shared_platform: Platform) -> None:
    """The step says that its output lies at the other's URI; the next one would be brought its content."""
    output = json.dumps({"artifacts": {"out": {"artifacts": [{"name": "out", "uri": SECRET, "metadata": {"a": 1}}]}}})
    lie = step(f"mkdir -p \"$(dirname '{{{{$.outputs.output_file}}}}')\"; echo '{output}' > "
               "'{{$.outputs.output_file}}'")
    steal = step("cat {{$.inputs.artifacts['given'].path}}")
    done = await run(shared_platform, pipeline({"make": lie, "use": steal}))
    assert done.run.state == "FAILED"
    assert "the secret of default" not in json.dumps([task.error for task in done.tasks.values()])


async def test_a_forged_stager_reads_as_its_own_namespace(shared_platform: Platform) -> None:
    client = shared_platform.client("tests")
    plan = {"mounts": ["/minio"], "directories": [], "inputs": [{"uri": SECRET, "path": "/minio/stolen"}]}
    await client.create(PODS, {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "thief", "namespace": TEAM},
        "spec": {"restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{
            "name": "main", "image": names.LAUNCHER_IMAGE, "args": ["stage-in"],
            "env": [{"name": names.STAGING_ENV, "value": json.dumps(plan)},
                    {"name": "POD_NAMESPACE", "value": "default"}],
            "volumeMounts": [{"name": "v", "mountPath": "/minio"}]}]}})
    phase, rest = "", clocks.SYSTEM
    async with asyncio.timeout(60):
        while phase not in ("Failed", "Succeeded"):
            await rest.sleep(0.05)
            phase = (await client.get(PODS, "thief", TEAM))["status"].get("phase", "")
    log = b"".join([chunk async for chunk in client.log(Key(TEAM, "thief"), {"container": "main"})]).decode()
    assert phase == "Failed"
    assert "belongs to another" in log


async def test_a_deleted_runs_content_goes_and_its_cached_steps_run_again(shared_platform: Platform) -> None:
    place = shared_platform
    write = step('mkdir -p "$(dirname {{$.outputs.artifacts[\'out\'].path}})"; echo kept > '
                 "{{$.outputs.artifacts['out'].path}}")
    data = pipeline({"make": write})
    first, second = await run(place, data), await run(place, data)
    uri = first.task("make").outputs.artifacts["out"][0].uri
    assert (first.task("make").state, second.task("make").state) == ("SUCCEEDED", "CACHED")
    collector = Collector(database=place.database, artifacts=place.artifacts, clock=clocks.SYSTEM, rest_seconds=0)

    async def delete(done: Finished) -> None:
        now = clocks.SYSTEM.now()
        await place.database.run(lambda c: run_history.remove(c, done.run.run_id, now))
        await collector.reconcile(Key("", TEAM))

    await delete(first)
    assert await place.artifacts.exists(uri)
    third = await run(place, data)
    assert third.task("make").state == "CACHED"
    for done in (second, third):
        await delete(done)
    assert not await place.artifacts.exists(uri)
    assert (await run(place, data)).task("make").state == "SUCCEEDED"
