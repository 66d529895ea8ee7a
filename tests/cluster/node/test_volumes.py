"""Volumes that change under a running Pod, and paths in volumes that would lead out of them."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS, PODS, SECRETS
from lightship.testing.nodes import NodeUnderTest, pod, running, shell, terminated

WAIT = "while ! grep -q {0} {1}; do sleep 0.02; done"


async def test_a_config_map_and_a_secret_reach_a_running_pod_at_once(node: NodeUnderTest) -> None:
    await node.client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "c", "namespace": "default"}, "data": {"a": "old", "gone": "x"}})
    volumes = [{"name": "c", "configMap": {"name": "c"}},
               {"name": "s", "projected": {"sources": [{"secret": {"name": "s", "optional": True}}]}},
               {"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {
                   "fieldPath": "metadata.labels"}}]}}]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in "csd"]
    mounts.append({"name": "c", "mountPath": "/fixed", "subPath": "a"})
    script = (f"{WAIT.format('new', '/c/a')}; cat /c/b; ls /c; cat /fixed; echo; while ! test -e /s/k; do sleep 0.02; "
              f"done; cat /s/k; {WAIT.format('blue', '/d/labels')}; echo done")
    await node.create(pod("p", shell(script, volumeMounts=mounts), volumes=volumes))
    await node.wait("p", running)
    await node.client.patch(CONFIGMAPS, Key("default", "c"), {"data": {"a": "new", "b": "both\n", "gone": None}})
    await node.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {
        "name": "s", "namespace": "default"}, "data": {"k": base64.b64encode(b"secret\n").decode()}})
    await node.client.patch(PODS, Key("default", "p"), {"metadata": {"labels": {"colour": "blue"}}})
    await node.wait("p", lambda p: p is not None and objects.status(p)["phase"] == "Succeeded")
    assert await node.log("p") == "both\na\nb\nold\nsecret\ndone\n"


async def test_a_missing_secret_is_waited_for(node: NodeUnderTest) -> None:
    volumes = [{"name": "s", "secret": {"secretName": "late", "defaultMode": 0o400}}]
    await node.create(pod("p", shell("cat /s/k", volumeMounts=[{"name": "s", "mountPath": "/s"}]), volumes=volumes))
    await node.wait("p", lambda p: "not found" in str(p))
    await node.client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {
        "name": "late", "namespace": "default"}, "data": {"k": base64.b64encode(b"here").decode()}})
    await node.wait("p", lambda p: p is not None and objects.status(p)["phase"] == "Succeeded")
    assert await node.log("p") == "here"


async def test_links_in_a_sub_path_lead_nowhere(node: NodeUnderTest, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the key")
    bait = shell(f"ln -s {secret} /v/out; ln -s / /v/root; ln -s ../../../../../../.. /v/up; mkdir /v/in; echo y > "
                 "/v/in/y; ln -s in /v/good", name="bait", volumeMounts=[{"name": "v", "mountPath": "/v"}])
    for name, path in (("out", "out"), ("root", "root/etc"), ("up", "up"), ("made", f"out/{os.getpid()}/x")):
        thief = shell("ls -a /x; cat /x/key", volumeMounts=[{"name": "v", "mountPath": "/x", "subPath": path}])
        found = await node.finish(pod(name, thief, initContainers=[bait], volumes=[{"name": "v", "emptyDir": {}}]))
        assert terminated(found)["exitCode"] == 128, found
        assert "failed to start container" in terminated(found)["message"]
    assert os.listdir(secret) == ["key"]
    good = shell("cat /x/y; touch /z/made && echo made", env=[{"name": "WHO", "value": "me"}], volumeMounts=[
        {"name": "v", "mountPath": "/x", "subPath": "good"},
        {"name": "v", "mountPath": "/z", "subPathExpr": "new/$(WHO)"}])
    found = await node.finish(pod("good", good, initContainers=[bait], volumes=[{"name": "v", "emptyDir": {}}]))
    assert await node.log("good", container="main") == "y\nmade\n"
