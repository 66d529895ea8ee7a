"""The scene, played by kr8s."""

from __future__ import annotations

import asyncio
import json

import kr8s
import scene
from kr8s.asyncio.objects import ConfigMap, CustomResourceDefinition, Deployment, Namespace, Pod, new_class

NAMESPACE = scene.NAMESPACE


async def status_of(call):
    try:
        await call
    except kr8s.NotFoundError:
        return 404
    except kr8s.ServerError as e:
        return e.response.status_code
    return 200


async def main():
    api = await kr8s.asyncio.api(namespace=NAMESPACE)
    namespace = await Namespace({"metadata": {"name": NAMESPACE}}, api=api)
    await namespace.create()
    seen = await objects(api) | await watched(api) | await pods(api) | await scaling(api) | await own_kind(api)
    first = await ConfigMap.get("first", namespace=NAMESPACE, api=api)
    await first.delete()
    seen["deleted"] = await status_of(ConfigMap.get("first", namespace=NAMESPACE, api=api))
    await namespace.delete()
    print(json.dumps(seen))


async def names(listing):
    return [item.name async for item in listing]


async def objects(api):
    first = await ConfigMap(scene.config_map("first"), api=api)
    await first.create()
    created = first.data["value"]
    second = await ConfigMap(scene.config_map("second", side="left"), api=api)
    await second.create()
    await first.patch({"data": {"value": "2"}})
    patched = first.data["value"]
    await first.patch([{"op": "replace", "path": "/data/value", "value": "3"}], type="json")
    stale = {"metadata": {"resourceVersion": second.metadata["resourceVersion"]}, "data": {"value": "4"}}
    return {"created": created, "patched": patched, "replaced": first.data["value"],
            "listed": await names(api.get("configmaps", label_selector={"scene": "yes"})),
            "selected": await names(api.get("configmaps", field_selector={"metadata.name": "second"})),
            "conflict": await status_of(first.patch(stale)),
            "missing": await status_of(ConfigMap.get("nobody", namespace=NAMESPACE, api=api)),
            "invalid": await status_of((await Pod(scene.broken_pod(), api=api)).create())}


async def watched(api):
    events = []

    async def listen():
        async for kind, obj in api.watch("configmaps", label_selector="watched=yes"):
            events.append(f"{kind} {obj.name}")
            if kind == "ADDED":
                await obj.patch({"data": {"value": "2"}})
            elif kind == "MODIFIED":
                await obj.delete()
            else:
                return

    listening = asyncio.create_task(listen())
    await (await ConfigMap(scene.config_map("w1", watched="yes"), api=api)).create()
    await asyncio.wait_for(listening, 30)
    return {"watched": events}


async def pods(api):
    pod = await Pod(scene.pod(), api=api)
    await pod.create()
    await pod.wait("condition=Ready", timeout=60)
    log = "".join([line + "\n" async for line in pod.logs()])
    said = await pod.exec(["sh", "-c", "echo in the pod"])
    await pod.delete()
    return {"log": log, "exec": said.stdout.decode().strip()}


async def scaling(api):
    deployment = await Deployment(scene.deployment(), api=api)
    await deployment.create()
    await deployment.scale(2)
    await deployment.refresh()
    return {"scaled": deployment.replicas}


async def own_kind(api):
    await (await CustomResourceDefinition(scene.definition(), api=api)).create()
    kind = new_class(kind="Widget", version=f"{scene.GROUP}/v1", namespaced=True, plural="widgets")
    widget = await kind(scene.widget(), api=api)
    await widget.create()
    listed = await names(kind.list(namespace=NAMESPACE, api=api))
    invalid = await status_of(widget.patch({"spec": {"size": 0}}))
    spec = widget.raw["spec"]
    await widget.delete()
    return {"custom": dict(spec), "custom_invalid": invalid, "custom_listed": listed}


asyncio.run(main())
