"""Serving over a real API server, node, controllers, artifact store and gateway process, without the rest of ``up``.

Tests of this folder call me. Pods are real processes in environments that the node builds.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from lightship.artifacts.cache import Cache
from lightship.artifacts.local import LocalStore
from lightship.client.client import Client
from lightship.cluster import builtin
from lightship.cluster.node.agent import Node, NodeOptions
from lightship.cluster.node.network import hub
from lightship.domains import serving
from lightship.domains.serving import kinds
from lightship.domains.serving.account_secrets import AccountSecrets
from lightship.domains.serving.places import Platform
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS, ENDPOINT_SLICES, PODS, REPLICA_SETS, SERVICES
from lightship.lib.clock import SYSTEM
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.testing.embedded import EmbeddedApi, EmbeddedOptions, embedded_api

WAIT_SECONDS = 180.0  # the first Pod waits for its environment to be built


@dataclass
class Serving:
    """What a test works with."""

    api: EmbeddedApi
    client: Client
    artifacts: LocalStore
    node: Node
    manager: Manager
    url: str
    http: aiohttp.ClientSession

    async def put_model(self, uri: str, model: Any) -> None:
        import joblib

        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        await self.artifacts.put(uri, buffer.getvalue())

    async def apply(self, name: str, predictor: dict[str, Any]) -> Object:
        wanted = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
                  "metadata": {"name": name, "namespace": "default"}, "spec": {"predictor": predictor}}
        return await self.client.patch(kinds.INFERENCE_SERVICES, Key("default", name), wanted, type="apply")

    async def wait(self, name: str, wanted: Callable[[Object], bool]) -> Object:
        """The InferenceService once it is as wanted."""
        key = Key("default", name)
        done: asyncio.Future[Object] = asyncio.get_running_loop().create_future()

        def look(old: Object | None, new: Object | None) -> None:
            if new is not None and objects.key(new) == key and wanted(new) and not done.done():
                done.set_result(new)

        unsubscribe = self.manager.informer(kinds.INFERENCE_SERVICES).subscribe(look)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await done
        except TimeoutError:
            raise AssertionError(await self.story(name)) from None
        finally:
            unsubscribe()

    async def story(self, name: str) -> str:
        """Everything that tells why a service is not as it should be."""
        told = [json.dumps((await self.client.get(kinds.INFERENCE_SERVICES, name, "default")).get("status"), indent=1)]
        for pod in (await self.client.list(PODS)).items:
            told.append(json.dumps(pod.get("status"), indent=1))
            for container in ("storage-initializer", "agent", "kserve-container"):
                try:
                    told += [chunk.decode() async for chunk in await self.node.logs(objects.key(pod),
                                                                              {"container": container})]
                except Exception as problem:
                    told.append(str(problem))
        return "\n".join(told)

    async def predict(self, url: str, instances: Any, model: str) -> tuple[int, Any]:
        async with self.http.post(f"{url}/v1/models/{model}:predict", json={"instances": instances},
                                  headers={"Authorization": f"Bearer {self.api.token}"}) as answer:
            return answer.status, await answer.json(content_type=None)


def ready(service: Object) -> bool:
    """Whether exactly this generation is ready."""
    return (conditions.is_true(service, "Ready")
            and objects.status(service).get("observedGeneration") == objects.generation(service))


def failed(service: Object) -> bool:
    return bool((objects.status(service).get("modelStatus") or {}).get("lastFailureInfo"))


@asynccontextmanager
async def serving_platform(folder: Path) -> AsyncIterator[Serving]:
    """A platform that runs inside the block."""
    async with (embedded_api(folder, EmbeddedOptions(kinds=serving.SERVING.kinds)) as api,
                _gateway(api, folder / "node") as port, aiohttp.ClientSession() as http):
        artifacts = LocalStore(folder / "artifacts", durable=False)
        client = api.in_process()
        node = Node(NodeOptions(directory=folder / "node"), client,
                    serving.built_ins(fetching(folder, artifacts, client)), SYSTEM)
        manager = Manager(lambda name: api.in_process())
        url = f"http://127.0.0.1:{port}"
        for controller in serving.SERVING.controllers(serving.ServingDeps(
                client=client, informer=manager.informer, recorder=Recorder(client, "serving"), clock=SYSTEM,
                site=serving.Site(gateway_url=url))):
            manager.add(controller)
        for controller in builtin.controllers(builtin.Deps(manager=manager, ca_pem=api.ca_pem, resources=(
                kinds.INFERENCE_SERVICES, DEPLOYMENTS, REPLICA_SETS, PODS, SERVICES, CONFIGMAPS,
                ENDPOINT_SLICES))):
            manager.add(controller)
        await serving.bootstrap(client)
        await node.start()
        api.server.sessions.streams = node.streams
        running = asyncio.create_task(manager.run())
        try:
            await manager.synced.wait()
            yield Serving(api, client, artifacts, node, manager, url, http)
        finally:
            await manager.stop()
            await running
            await node.stop()


def fetching(folder: Path, artifacts: LocalStore, client: Client) -> serving.Fetching:
    """What models are fetched with, in a folder of the test's."""
    return serving.Fetching(cache=Cache(folder / "model-cache"), secrets=AccountSecrets(client),
                            platform=Platform(stores=artifacts, trusted=("default",)))


@asynccontextmanager
async def _gateway(api: EmbeddedApi, node: Path) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lightship.gateway", "--kubeconfig", str(api.kubeconfig), "--port", "0", "--with-parent",
        "--pod-sockets", str(node / hub.SOCKET_NAME),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())["port"]
    finally:
        process.stdin.close()
        code = await asyncio.wait_for(process.wait(), 60)
        # Python 3.11's transport of the pipe outlives the process by one turn of the loop.
        await process.stdin.wait_closed()
        assert code == 0
