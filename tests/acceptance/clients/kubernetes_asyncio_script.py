"""The scene, played by ``kubernetes_asyncio``."""

from __future__ import annotations

import asyncio
import json

import scene
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.stream import WsApiClient

NAMESPACE = scene.NAMESPACE


async def status_of(call):
    try:
        await call
    except ApiException as e:
        return e.status
    return 200


async def main():
    await config.load_kube_config()
    async with client.ApiClient() as api:
        core, apps, custom = client.CoreV1Api(api), client.AppsV1Api(api), client.CustomObjectsApi(api)
        await core.create_namespace({"metadata": {"name": NAMESPACE}})
        seen = await objects(core) | await watched(core) | await pods(core)
        seen |= await scaling(apps) | await own_kind(api, custom)
        await core.delete_namespaced_config_map("first", NAMESPACE)
        seen["deleted"] = await status_of(core.read_namespaced_config_map("first", NAMESPACE))
        await core.delete_namespace(NAMESPACE)
    print(json.dumps(seen))


async def objects(core):
    made = await core.create_namespaced_config_map(NAMESPACE, scene.config_map("first"))
    await core.create_namespaced_config_map(NAMESPACE, scene.config_map("second", side="left"))
    patched = await core.patch_namespaced_config_map("first", NAMESPACE, {"data": {"value": "2"}})
    patched_value = patched.data["value"]
    patched.data["value"] = "3"
    replaced = await core.replace_namespaced_config_map("first", NAMESPACE, patched)
    listed = await core.list_namespaced_config_map(NAMESPACE, label_selector="scene=yes")
    selected = await core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=second")
    return {"created": made.data["value"], "patched": patched_value, "replaced": replaced.data["value"],
            "listed": [item.metadata.name for item in listed.items],
            "selected": [item.metadata.name for item in selected.items],
            "conflict": await status_of(core.replace_namespaced_config_map("first", NAMESPACE, made)),
            "missing": await status_of(core.read_namespaced_config_map("nobody", NAMESPACE)),
            "invalid": await status_of(core.create_namespaced_pod(NAMESPACE, scene.broken_pod()))}


async def watched(core):
    revision = (await core.list_namespaced_config_map(NAMESPACE)).metadata.resource_version

    async def act():
        await core.create_namespaced_config_map(NAMESPACE, scene.config_map("w1", watched="yes"))
        await core.patch_namespaced_config_map("w1", NAMESPACE, {"data": {"value": "2"}})
        await core.delete_namespaced_config_map("w1", NAMESPACE)

    actor, events = asyncio.create_task(act()), []
    async with watch.Watch() as stream:
        async for event in stream.stream(core.list_namespaced_config_map, NAMESPACE, label_selector="watched=yes",
                                         resource_version=revision, timeout_seconds=30):
            events.append(f"{event['type']} {event['object'].metadata.name}")
            if event["type"] == "DELETED":
                break
    await actor
    return {"watched": events}


async def pods(core):
    await core.create_namespaced_pod(NAMESPACE, scene.pod())
    async with watch.Watch() as stream:
        async for event in stream.stream(core.list_namespaced_pod, NAMESPACE, field_selector="metadata.name=speaker",
                                         timeout_seconds=60):
            if event["object"].status.phase == "Running":
                break
    log = await core.read_namespaced_pod_log("speaker", NAMESPACE)
    async with WsApiClient() as sockets:
        said = await client.CoreV1Api(sockets).connect_get_namespaced_pod_exec(
            "speaker", NAMESPACE, command=["sh", "-c", "echo in the pod"], stderr=True, stdin=False, stdout=True,
            tty=False)
    await core.delete_namespaced_pod("speaker", NAMESPACE)
    return {"log": log, "exec": said.strip()}


async def scaling(apps):
    await apps.create_namespaced_deployment(NAMESPACE, scene.deployment())
    await apps.patch_namespaced_deployment_scale("scaled", NAMESPACE, {"spec": {"replicas": 2}})
    return {"scaled": (await apps.read_namespaced_deployment("scaled", NAMESPACE)).spec.replicas}


async def own_kind(api, custom):
    await client.ApiextensionsV1Api(api).create_custom_resource_definition(scene.definition())
    place = (scene.GROUP, "v1", NAMESPACE, "widgets")
    made = await custom.create_namespaced_custom_object(*place, scene.widget())
    listed = await custom.list_namespaced_custom_object(*place)
    invalid = await status_of(custom.patch_namespaced_custom_object(
        *place, "w", [{"op": "replace", "path": "/spec/size", "value": 0}]))
    await custom.delete_namespaced_custom_object(*place, "w")
    return {"custom": made["spec"], "custom_invalid": invalid,
            "custom_listed": [item["metadata"]["name"] for item in listed["items"]]}


asyncio.run(main())
