"""The scene, played by the ``kubernetes`` client."""

from __future__ import annotations

import json
import threading

import scene
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

NAMESPACE = scene.NAMESPACE


def status_of(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as e:
        return e.status
    return 200


def main():
    config.load_kube_config()
    core, apps, custom = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    seen = objects(core) | watched(core) | pods(core) | scaling(apps) | own_kind(custom)
    core.delete_namespaced_config_map("first", NAMESPACE)
    seen["deleted"] = status_of(core.read_namespaced_config_map, "first", NAMESPACE)
    core.delete_namespace(NAMESPACE)
    print(json.dumps(seen))


def objects(core):
    made = core.create_namespaced_config_map(NAMESPACE, scene.config_map("first"))
    core.create_namespaced_config_map(NAMESPACE, scene.config_map("second", side="left"))
    patched = core.patch_namespaced_config_map("first", NAMESPACE, {"data": {"value": "2"}})
    patched.data["value"] = "3"
    replaced = core.replace_namespaced_config_map("first", NAMESPACE, patched)
    listed = core.list_namespaced_config_map(NAMESPACE, label_selector="scene=yes", limit=1)
    names = [item.metadata.name for item in listed.items]
    rest = core.list_namespaced_config_map(NAMESPACE, label_selector="scene=yes", _continue=listed.metadata._continue)
    selected = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=second")
    return {"created": made.data["value"], "patched": "2", "replaced": replaced.data["value"],
            "listed": names + [item.metadata.name for item in rest.items],
            "selected": [item.metadata.name for item in selected.items],
            "conflict": status_of(core.replace_namespaced_config_map, "first", NAMESPACE, made),
            "missing": status_of(core.read_namespaced_config_map, "nobody", NAMESPACE),
            "invalid": status_of(core.create_namespaced_pod, NAMESPACE, scene.broken_pod())}


def watched(core):
    revision = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version

    def act():
        core.create_namespaced_config_map(NAMESPACE, scene.config_map("w1", watched="yes"))
        core.patch_namespaced_config_map("w1", NAMESPACE, {"data": {"value": "2"}})
        core.delete_namespaced_config_map("w1", NAMESPACE)

    actor = threading.Thread(target=act)
    actor.start()
    events, stream_ = [], watch.Watch()
    for event in stream_.stream(core.list_namespaced_config_map, NAMESPACE, label_selector="watched=yes",
                                resource_version=revision, timeout_seconds=30):
        events.append(f"{event['type']} {event['object'].metadata.name}")
        if event["type"] == "DELETED":
            stream_.stop()
    actor.join()
    return {"watched": events}


def pods(core):
    core.create_namespaced_pod(NAMESPACE, scene.pod())
    waiting = watch.Watch()
    for event in waiting.stream(core.list_namespaced_pod, NAMESPACE, field_selector="metadata.name=speaker",
                                timeout_seconds=60):
        if event["object"].status.phase == "Running":
            waiting.stop()
    log = core.read_namespaced_pod_log("speaker", NAMESPACE, follow=False)
    said = stream(core.connect_get_namespaced_pod_exec, "speaker", NAMESPACE, command=["sh", "-c", "echo in the pod"],
                  stderr=True, stdin=False, stdout=True, tty=False)
    gone = core.delete_namespaced_pod("speaker", NAMESPACE)
    assert gone.metadata.name == "speaker"
    return {"log": log, "exec": said.strip()}


def scaling(apps):
    apps.create_namespaced_deployment(NAMESPACE, scene.deployment())
    apps.patch_namespaced_deployment_scale("scaled", NAMESPACE, {"spec": {"replicas": 2}})
    return {"scaled": apps.read_namespaced_deployment("scaled", NAMESPACE).spec.replicas}


def own_kind(custom):
    client.ApiextensionsV1Api().create_custom_resource_definition(scene.definition())
    place = (scene.GROUP, "v1", NAMESPACE, "widgets")
    made = custom.create_namespaced_custom_object(*place, scene.widget())
    listed = custom.list_namespaced_custom_object(*place)
    invalid = status_of(custom.patch_namespaced_custom_object, *place, "w", {"spec": {"size": 0}})
    custom.delete_namespaced_custom_object(*place, "w")
    return {"custom": made["spec"], "custom_invalid": invalid,
            "custom_listed": [item["metadata"]["name"] for item in listed["items"]]}


main()
