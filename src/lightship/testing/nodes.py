"""A node on the in-memory API, for tests that run real Pods as real processes.

Tests of ``cluster/node`` and of those who make Pods call me; I start a ``Node`` and wait on its informer's signals.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lightship.client.client import Client
from lightship.cluster.node.agent import Node, NodeOptions
from lightship.cluster.node.entrypoints import Entrypoint
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS
from lightship.lib.clock import SYSTEM, Clock
from lightship.runtime.informer import Informer
from lightship.testing.memory import MemoryApi

NODE_NAME = "node-under-test"
WAIT_SECONDS = 60.0


def pod(name: str, *containers: Mapping[str, Any], **spec: Any) -> Object:
    """A Pod bound to the node under test that is never restarted, unless ``spec`` says otherwise."""
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": NODE_NAME, "restartPolicy": "Never", "containers": list(containers), **spec},
    }


def shell(script: str, *, name: str = "main", **more: Any) -> dict[str, Any]:
    """A container that runs a shell script."""
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


class NodeUnderTest:
    """A running node and the API it watches."""

    def __init__(self, api: MemoryApi, node: Node, pods: Informer, directory: Path) -> None:
        self.api = api
        self.directory = directory
        self.node = node
        self.client: Client = api.client()
        self._pods = pods

    async def create(self, obj: Object) -> Object:
        return await self.client.create(PODS, obj)

    async def wait(self, name: str, wanted: Callable[[Object | None], bool], namespace: str = "default") -> Object:
        """The Pod once it is as wanted; ``wanted`` gets None when it is gone."""
        key = Key(namespace, name)
        done: asyncio.Future[Object] = asyncio.get_running_loop().create_future()

        def look(old: Object | None, new: Object | None) -> None:
            changed = new or old
            if changed is not None and objects.key(changed) == key and wanted(new) and not done.done():
                done.set_result(new or {})

        if self._pods.get(key) is None and wanted(None):
            return {}
        unsubscribe = self._pods.subscribe(look)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await done
        finally:
            unsubscribe()

    async def finish(self, obj: Object) -> Object:
        """Creates a Pod and waits for its end."""
        await self.create(obj)
        return await self.wait(objects.name(obj), over)

    async def log(self, name: str, **query: str) -> str:
        return b"".join([block async for block in await self.node.logs(Key("default", name), query)]).decode()


def over(found: Object | None) -> bool:
    return found is not None and objects.status(found).get("phase") in ("Succeeded", "Failed")


def running(found: Object | None) -> bool:
    return found is not None and objects.status(found).get("phase") == "Running"


def ready(found: Object | None) -> bool:
    if found is None:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in objects.status(found).get("conditions") or ())


def terminated(found: Object, container: str = "main") -> dict[str, Any]:
    """The end of a container as the status tells it."""
    status = objects.status(found)
    for entry in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        if entry["name"] == container:
            return dict(entry["state"]["terminated"])
    raise AssertionError(f"no container {container} in {status}")


@asynccontextmanager
async def node_under_test(directory: Path, *, entrypoints: Mapping[str, Entrypoint] | None = None,
                          api: MemoryApi | None = None, clock: Clock = SYSTEM,
                          **options: Any) -> AsyncIterator[NodeUnderTest]:
    """A node in ``directory``, stopped at the end."""
    api = api or MemoryApi()
    node = Node(NodeOptions(directory=directory, name=NODE_NAME, **options), api.client("node"), entrypoints or {},
                clock)
    pods = Informer(api.client(), PODS)
    await node.start()
    await pods.start()
    await pods.synced.wait()
    try:
        yield NodeUnderTest(api, node, pods, directory)
    finally:
        await pods.stop()
        await node.stop()
