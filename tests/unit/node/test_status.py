"""Phases, conditions and settings: what kubelet would have written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lightship.cluster.node import environments, pod_status
from lightship.cluster.node.addresses import Addresses
from lightship.cluster.node.catalogue import Environment, Install
from lightship.cluster.node.processes import Exit
from lightship.testing.clock import EPOCH


def view(*containers: str) -> pod_status.PodView:
    """Containers by letters: w waits, r runs, s succeeded, f failed, c failed and waits to be restarted."""
    pod = {"spec": {"containers": [{"name": str(number), "image": "i"} for number, _ in enumerate(containers)]}}
    made = pod_status.view_of(pod)
    made.initialized = True
    for container, letter in zip(made.main, containers, strict=True):
        if letter != "w":
            container.mark_running(EPOCH, "id")
        if letter in "sfc":
            container.mark_terminated(Exit(code=0 if letter == "s" else 1), EPOCH, "x")
        if letter == "c":
            container.mark_waiting("CrashLoopBackOff")
    return made


@pytest.mark.parametrize(("letters", "policy", "expected"), [
    ("w", "Never", "Pending"), ("r", "Never", "Running"), ("rs", "Never", "Running"), ("s", "Never", "Succeeded"),
    ("sf", "Never", "Failed"), ("f", "Never", "Failed"), ("c", "Always", "Running"), ("c", "OnFailure", "Running"),
    ("f", "OnFailure", "Running"), ("ss", "OnFailure", "Succeeded"), ("s", "Always", "Running"),
    ("rw", "Always", "Pending"),
])
def test_phases(letters: str, policy: str, expected: str) -> None:
    assert pod_status.phase(view(*letters), policy) == expected


def test_transition_times_move_only_when_a_condition_does() -> None:
    pod: dict[str, Any] = {"spec": {"restartPolicy": "Never"}}
    made = view("r")
    first = pod_status.build(pod, made, EPOCH)["conditions"]
    later = pod_status.build(pod, made, EPOCH + timedelta(seconds=5))["conditions"]
    assert first == later
    made.main[0].ready = True
    ready = {c["type"]: c for c in pod_status.build(pod, made, EPOCH + timedelta(seconds=9))["conditions"]}
    assert ready["Ready"]["lastTransitionTime"] == "2026-01-01T00:00:09Z"
    assert ready["PodScheduled"]["lastTransitionTime"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(("resources", "expected"), [
    ({}, "BestEffort"), ({"requests": {"cpu": "1"}}, "Burstable"),
    ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
    ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
])
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    assert pod_status.qos_class({"containers": [{"resources": resources}]}) == expected


def test_addresses_are_loopback_distinct_and_reused_only_when_given_back() -> None:
    addresses = Addresses("/some/where")
    first, second = addresses.take("a"), addresses.take("b")
    assert first != second and first.startswith("127.") and addresses.take("a") == first
    addresses.give_back("a")
    assert addresses.take("c") not in (second,)


def test_an_environments_address_holds_everything_that_decides_it() -> None:
    def digest(*packages: str, no_deps: bool = False, python: str = "/p") -> str:
        return environments.digest_of(Environment(installs=(Install(packages=packages, no_deps=no_deps),)), python)

    assert digest("a") == digest("a")
    assert len({digest("a"), digest("a", "b"), digest("a", no_deps=True), digest("a", python="/q")}) == 4


def test_an_images_identity_follows_the_catalogue() -> None:
    def identity(image: str, line: str = "") -> str:
        return environments.identity_of(image, {"data": {"team": line}}, engine=True)

    assert identity("python:3.11") == identity("python:3.11-slim") != identity("python:3.12")
    first, second = (identity("acme/train", f"acme/* = python:3.11 numpy=={version}") for version in (1, 2))
    assert first != second
    assert identity("acme/train") == "acme/train"
    assert environments.identity_of("acme/train", None, engine=False) == "acme/train"


def test_pips_settings_serve_uv_where_uv_has_none_of_its_own(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared.conf", tmp_path / "own.conf"
    shared.write_text("[global]\nindex-url = https://old/simple\nfind-links = /a\n /b\n")
    own.write_text("[install]\nindex-url = https://new/simple\n")
    assert environments.pip_settings({}, [shared, own, tmp_path / "missing"]) == {
        "UV_DEFAULT_INDEX": "https://new/simple", "UV_FIND_LINKS": "/a,/b"}
    assert environments.pip_settings({"UV_INDEX_URL": "https://mine"}, [shared]) == {"UV_FIND_LINKS": "/a,/b"}
    assert environments.pip_settings({"PIP_INDEX_URL": "https://env"}, [own]) == {"UV_DEFAULT_INDEX": "https://env"}


def test_several_indexes_are_as_good_as_one_another_for_pip() -> None:
    pip = {"PIP_EXTRA_INDEX_URL": "https://two"}
    assert environments.pip_settings(pip, []) == {
        "UV_INDEX": "https://two", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    assert environments.pip_settings(pip | {"UV_INDEX_STRATEGY": "first-index"}, []) == {"UV_INDEX": "https://two"}
