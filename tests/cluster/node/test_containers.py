"""What a container's program sees and what is seen of it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, PERSISTENT_VOLUME_CLAIMS, SECRETS
from lightship.testing.nodes import NodeUnderTest, pod, shell, terminated


async def run(node: NodeUnderTest, script: str, **more: Any) -> tuple[dict[str, Any], str]:
    """How one shell script ended, and what it wrote."""
    spec = more.pop("pod", {})
    found = await node.finish(pod("p", shell(script, **more), **spec))
    return terminated(found), await node.log("p")


@pytest.mark.parametrize(("script", "code", "signal"), [
    ("exit 0", 0, None), ("exit 3", 3, None), ("kill -9 $$$$", 137, 9), ("kill -TERM $$$$", 143, 15),
    ("exit 255", 255, None),
])
async def test_exit_codes_are_those_of_a_container(node: NodeUnderTest, script: str, code: int,
                                                   signal: int | None) -> None:
    found = await node.finish(pod("p", shell(script)))
    end = terminated(found)
    assert (end["exitCode"], end.get("signal")) == (code, signal)
    assert end["reason"] == ("Error" if code else "Completed")
    assert objects.status(found)["phase"] == ("Failed" if code else "Succeeded")


async def test_a_program_that_is_not_there_ends_with_128_and_says_so(node: NodeUnderTest) -> None:
    found = await node.finish(pod("p", {"name": "main", "image": "busybox", "command": ["no-such-program"]}))
    assert terminated(found)["exitCode"] == 128
    assert 'exec: "no-such-program": executable file not found in $PATH' in terminated(found)["message"]


async def test_variables_arguments_and_directory(node: NodeUnderTest) -> None:
    await node.client.create(CONFIGMAPS, _object("ConfigMap", "cm", data={"a": "1", "b": "2"}))
    await node.client.create(SECRETS, _object("Secret", "s", data={"k": base64.b64encode(b"hidden").decode()}))
    container = {
        "name": "main", "image": "busybox", "workingDir": "/made/for/it",
        "command": ["sh", "-c", "pwd; echo $0 $1; env"], "args": ["$(GREETING)", "$$(GREETING) $(UNKNOWN)"],
        "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "CM_"}],
        "env": [
            {"name": "WHO", "value": "world"}, {"name": "GREETING", "value": "hello-$(WHO)"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ],
        "resources": {"limits": {"memory": "256Mi"}},
    }
    found = await node.finish(pod("p", container))
    lines = (await node.log("p")).splitlines()
    assert lines[:2] == ["/made/for/it", "hello-world $(GREETING) $(UNKNOWN)"]
    seen = dict(line.split("=", 1) for line in lines[2:] if "=" in line)
    assert (seen["CM_a"], seen["CM_b"], seen["KEY"], seen["NAME"], seen["MEMORY"]) == ("1", "2", "hidden", "p", "256")
    assert seen["IP"] == objects.status(found)["podIP"]
    assert "MAYBE" not in seen
    assert seen["HOME"] == "/root"


async def test_a_missing_config_map_keeps_the_container_waiting_and_says_so(node: NodeUnderTest) -> None:
    container = shell("true", env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}}])
    await node.create(pod("p", container))
    found = await node.wait("p", lambda p: _waiting(p).get("reason") == "CreateContainerConfigError")
    assert _waiting(found)["message"] == 'configmap "cm" not found'
    await node.client.create(CONFIGMAPS, _object("ConfigMap", "cm", data={"a": "1"}))
    assert terminated(await node.wait("p", _ended))["exitCode"] == 0


async def test_an_unknown_image_waits_with_the_line_that_would_map_it(node: NodeUnderTest) -> None:
    await node.create(pod("p", {"name": "main", "image": "acme.io/train:7", "command": ["true"]}))
    found = await node.wait("p", lambda p: _waiting(p).get("reason") == "ErrImagePull")
    assert "acme.io/train:7 = python:3.11" in _waiting(found)["message"]


async def test_containers_of_a_pod_share_its_volumes_and_run_in_order(node: NodeUnderTest) -> None:
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/deep/new/place"}]}
    found = await node.finish(pod(
        "p", shell("cat /deep/new/place/log; echo main >> /deep/new/place/log", **mount),
        initContainers=[shell("echo first >> /deep/new/place/log", name="one", **mount),
                        shell("echo second >> /deep/new/place/log", name="two", **mount)],
        volumes=[{"name": "shared", "emptyDir": {}}]))
    assert objects.status(found)["phase"] == "Succeeded"
    assert await node.log("p") == "first\nsecond\n"


async def test_a_failed_init_container_fails_the_pod(node: NodeUnderTest) -> None:
    found = await node.finish(pod("p", shell("echo never"), initContainers=[shell("exit 4", name="one")]))
    assert objects.status(found)["phase"] == "Failed"
    assert terminated(found, "one")["exitCode"] == 4
    assert objects.status(found)["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


async def test_files_of_config_maps_secrets_and_the_pod_are_read_only(node: NodeUnderTest) -> None:
    await node.client.create(CONFIGMAPS, _object("ConfigMap", "cm", data={"app.conf": "x = 1", "other": "y"}))
    await node.client.create(SECRETS, _object("Secret", "s", data={"key": base64.b64encode(b"k").decode()}))
    volumes = [
        {"name": "cm", "configMap": {"name": "cm", "items": [{"key": "app.conf", "path": "sub/app.conf"}]}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "pod", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    mounts = [{"name": "cm", "mountPath": "/etc/config"}, {"name": "s", "mountPath": "/secret"},
              {"name": "pod", "mountPath": "/pod"}]
    end, log = await run(
        node, "cat /etc/config/sub/app.conf /secret/key /pod/name; ls /etc/config; stat -Lc %a /secret/key; "
        "echo no > /etc/config/sub/app.conf; echo no > /secret/new; exit 0",
        volumeMounts=mounts, pod={"volumes": volumes})
    assert log.splitlines()[0] == "x = 1kp" + "sub"
    assert log.splitlines()[1] == "400"
    assert log.count("Read-only file system") == 2, log
    assert end["exitCode"] == 0


async def test_one_file_of_a_volume_can_be_mounted(node: NodeUnderTest) -> None:
    await node.client.create(CONFIGMAPS, _object("ConfigMap", "cm", data={"a": "one", "b": "two"}))
    _, log = await run(node, "cat /usr/share/only; ls -d /usr/share", pod={
        "volumes": [{"name": "cm", "configMap": {"name": "cm"}}]},
        volumeMounts=[{"name": "cm", "mountPath": "/usr/share/only", "subPath": "b"}])
    assert log == "two/usr/share\n"


async def test_a_claim_is_bound_and_outlives_its_pod(node: NodeUnderTest) -> None:
    await node.client.create(PERSISTENT_VOLUME_CLAIMS, _object("PersistentVolumeClaim", "c", spec={
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}))
    more = {"volumeMounts": [{"name": "v", "mountPath": "/data", "subPath": "part"}]}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    await node.finish(pod("writer", shell("echo kept > /data/x", **more), volumes=volumes))
    await node.finish(pod("reader", shell("cat /data/x", **more), volumes=volumes))
    assert await node.log("reader") == "kept\n"
    claim = await node.client.get(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    assert objects.status(claim)["phase"] == "Bound"


async def test_an_ephemeral_volume_is_a_claim_of_the_pods_own(node: NodeUnderTest) -> None:
    claim = _object("PersistentVolumeClaim", "p-v", spec={
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
    await node.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
    volumes = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    container = shell("echo mine > /data/x; cat /data/x", volumeMounts=[{"name": "v", "mountPath": "/data"}])
    made = await node.create(pod("p", container, volumes=volumes))
    found = await node.wait("p", lambda p: _waiting(p).get("reason") == "CreateContainerConfigError")
    assert "was not created for the pod" in _waiting(found)["message"]
    owner = {"metadata": {"ownerReferences": [objects.owner_reference(made)]}}
    await node.client.patch(PERSISTENT_VOLUME_CLAIMS, objects.key(claim), owner)
    await node.wait("p", _ended)
    assert await node.log("p") == "mine\n"


@pytest.mark.parametrize(("volume", "mount", "word"), [
    ({"hostPath": {"path": "/"}}, {}, "hostPath"),
    ({"emptyDir": {}}, {"subPath": "../.."}, "leads out"),
])
async def test_ways_out_of_a_volume_are_refused(node: NodeUnderTest, volume: Object, mount: Object, word: str) -> None:
    container = shell("ls /host", volumeMounts=[{"name": "v", "mountPath": "/host", **mount}])
    await node.create(pod("p", container, volumes=[{"name": "v", **volume}]))
    found = await node.wait("p", lambda p: _waiting(p).get("reason") == "CreateContainerConfigError")
    assert word in _waiting(found)["message"]


async def test_termination_messages(node: NodeUnderTest) -> None:
    end, _ = await run(node, "printf because > /dev/termination-log; exit 1")
    assert end["message"] == "because"


async def test_the_end_of_the_log_is_the_message_where_asked(node: NodeUnderTest) -> None:
    end, _ = await run(node, "echo first; echo last; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    assert end["message"] == "first\nlast"


async def test_what_the_root_offers(node: NodeUnderTest) -> None:
    script = ("echo x > /tmp/x && echo x > /root/x && echo x > /scratch && echo x > /dev/shm/x && "
              "echo out > /dev/stdout && head -c 4 /dev/urandom > /tmp/r && cat /etc/hostname && id -u && "
              "python3 -c 'import ssl, ctypes, sqlite3; print(sqlite3.connect(\"/tmp/db\"))'")
    end, log = await run(node, script)
    assert end["exitCode"] == 0, log
    assert log.splitlines()[:3] == ["out", "p", "0"]


async def test_a_short_pod_costs_few_writes(node: NodeUnderTest) -> None:
    await node.finish(pod("p", shell("true")))
    writes = [write for write in node.api.writes if write.plural == "pods" and write.verb == "patch"]
    assert 1 <= len(writes) <= 3


async def test_every_condition_is_there(node: NodeUnderTest) -> None:
    found = await node.finish(pod("p", shell("true")))
    status = objects.status(found)
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "False", "Initialized": "True", "Ready": "False", "ContainersReady": "False",
        "PodScheduled": "True"}
    assert status["qosClass"] == "BestEffort"
    assert status["podIP"].startswith("10.244.")
    assert status["startTime"]


def _object(kind: str, name: str, **body: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, **body}


def _waiting(found: Object | None) -> dict[str, Any]:
    statuses = objects.status(found or {}).get("containerStatuses") or [{}]
    return dict((statuses[0].get("state") or {}).get("waiting") or {})


def _ended(found: Object | None) -> bool:
    return objects.status(found or {}).get("phase") in ("Succeeded", "Failed")
