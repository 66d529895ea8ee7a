"""The objects of the scene that every client's script plays. Standard library only: each runs elsewhere."""

from __future__ import annotations

import sys

NAMESPACE = sys.argv[1] if len(sys.argv) > 1 else "default"
GROUP = f"{NAMESPACE}.example.com"
IMAGE = "busybox:1"


def config_map(name, value="1", **labels):
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": value},
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"scene": "yes"} | labels}}


def pod():
    script = "echo hello from the pod; exec sleep 300"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "speaker", "namespace": NAMESPACE},
            "spec": {"terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
                     "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}]}}


def broken_pod():
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "broken", "namespace": NAMESPACE},
            "spec": {"containers": []}}


def deployment():
    template = {"metadata": {"labels": {"app": "scene"}},
                "spec": {"terminationGracePeriodSeconds": 0,
                         "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "300"]}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scaled", "namespace": NAMESPACE},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "scene"}}, "template": template}}


def definition():
    spec = {"type": "object", "required": ["size"],
            "properties": {"size": {"type": "integer", "minimum": 1},
                           "colour": {"type": "string", "default": "red"}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{GROUP}"},
            "spec": {"group": GROUP, "scope": "Namespaced",
                     "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                     "versions": [{"name": "v1", "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": schema}}]}}


def widget(size=3):
    return {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": NAMESPACE},
            "spec": {"size": size, "unknown": "is pruned"}}
