"""The scene, played by lightkube."""

from __future__ import annotations

import json
import threading

import scene
from lightkube import ApiError, Client
from lightkube.codecs import from_dict
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod
from lightkube.types import PatchType

NAMESPACE = scene.NAMESPACE


def status_of(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiError as e:
        return e.status.code
    return 200


def main():
    client = Client(namespace=NAMESPACE)
    client.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
    seen = objects(client) | watched(client) | pods(client) | scaling(client) | own_kind(client)
    client.delete(ConfigMap, "first")
    seen["deleted"] = status_of(client.get, ConfigMap, "first")
    client.delete(Namespace, NAMESPACE)
    print(json.dumps(seen))


def objects(client):
    made = client.create(from_dict(scene.config_map("first")))
    client.create(from_dict(scene.config_map("second", side="left")))
    patched = client.patch(ConfigMap, "first", {"data": {"value": "2"}})
    patched_value = patched.data["value"]
    patched.data["value"] = "3"
    replaced = client.replace(patched)
    return {"created": made.data["value"], "patched": patched_value, "replaced": replaced.data["value"],
            "listed": [item.metadata.name for item in client.list(ConfigMap, labels={"scene": "yes"}, chunk_size=1)],
            "selected": [item.metadata.name for item in client.list(ConfigMap, fields={"metadata.name": "second"})],
            "conflict": status_of(client.replace, made),
            "missing": status_of(client.get, ConfigMap, "nobody"),
            "invalid": status_of(client.create, from_dict(scene.broken_pod()))}


def watched(client):
    listed = client.list(ConfigMap)
    list(listed)
    revision = listed.resourceVersion

    def act():
        client.create(from_dict(scene.config_map("w1", watched="yes")))
        client.patch(ConfigMap, "w1", {"data": {"value": "2"}})
        client.delete(ConfigMap, "w1")

    actor = threading.Thread(target=act)
    actor.start()
    events = []
    for kind, obj in client.watch(ConfigMap, labels={"watched": "yes"}, resource_version=revision, server_timeout=30):
        events.append(f"{kind} {obj.metadata.name}")
        if kind == "DELETED":
            break
    actor.join()
    return {"watched": events}


def pods(client):
    client.create(from_dict(scene.pod()))
    client.wait(Pod, "speaker", for_conditions=["Ready"])
    log = "".join(client.log("speaker"))
    client.delete(Pod, "speaker")
    return {"log": log}


def scaling(client):
    client.create(from_dict(scene.deployment()))
    metadata = ObjectMeta(name="scaled", namespace=NAMESPACE)
    client.replace(Deployment.Scale(metadata=metadata, spec=ScaleSpec(replicas=2)))
    return {"scaled": client.get(Deployment, "scaled").spec.replicas}


def own_kind(client):
    client.create(from_dict(scene.definition()))
    client.wait(CustomResourceDefinition, f"widgets.{scene.GROUP}", for_conditions=["Established"])
    widget = create_namespaced_resource(scene.GROUP, "v1", "Widget", "widgets")
    made = client.create(widget(scene.widget()))
    listed = [item.metadata.name for item in client.list(widget)]
    invalid = status_of(client.patch, widget, "w", {"spec": {"size": 0}}, patch_type=PatchType.MERGE)
    client.delete(widget, "w")
    return {"custom": made["spec"], "custom_invalid": invalid, "custom_listed": listed}


main()
