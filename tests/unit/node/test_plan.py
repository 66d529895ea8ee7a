"""Images, components, variables and the plan they make: pure functions by example."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.node import catalogue, commons, components, plan, security, variables
from lightship.cluster.node.catalogue import Environment, Image, Install
from lightship.cluster.node.errors import ConfigError, ImageError
from lightship.cluster.node.layout import Identity, Mount, Root, Survey, sandbox_of

BOOTSTRAP = ('\nif ! [ -x "$(command -v pip)" ]; then\n    python3 -m ensurepip || python3 -m ensurepip --user || '
             "apt-get install python3-pip\nfi\n\nPIP_DISABLE_PIP_VERSION_CHECK=1 {} && \"$0\" \"$@\"\n")
PIP = "python3 -m pip install --quiet --no-warn-script-location "
RUN = ('program_path=$(mktemp -d)\n\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n_KFP_RUNTIME=true '
       'python3 -m kfp.dsl.executor_main    --component_module_path    "$program_path/ephemeral_component.py"   "$@"\n')


@pytest.mark.parametrize(("image", "expected"), [
    ("alpine", Image()), ("docker.io/library/busybox:1.36", Image()), ("ghcr.io/containerd/busybox", Image()),
    ("python:3.9-slim", Image(environment=Environment(python="3.9"))),
    ("python:3.11.4@sha256:abc", Image(environment=Environment(python="3.11"))),
    ("python:alpine3.9", Image()), ("python", Image()),
    ("registry.access.redhat.com/ubi9/python-311:latest", Image(environment=Environment(python="3.11"))),
    ("lightship.dev/launcher:0.1", Image(entrypoint="launcher")),
    ("pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime", Image(environment=Environment(
        installs=(Install(packages=("torch==2.13.0", "numpy")),)))),
    ("docker.io/tensorflow/tensorflow:2.20.0", Image(environment=Environment(
        installs=(Install(packages=("tensorflow-cpu==2.20.0", "numpy")),)))),
    ("ghcr.io/kubeflow/trainer/xgboost-runtime", Image(environment=Environment(
        installs=(Install(packages=("xgboost-cpu", "scikit-learn", "numpy")),)))),
    ("ghcr.io/kubeflow/trainer/dataset-initializer:v2.3.0", Image(entrypoint="dataset-initializer")),
])
def test_images_that_are_known(image: str, expected: Image) -> None:
    assert catalogue.resolve(image) == expected


@pytest.mark.parametrize("image", [
    "nginx", "pytorch/pytorch:latest", "acme.io/python:3.11", "acme.io:5000/x", "my-alpine", ""])
def test_images_that_are_not(image: str) -> None:
    with pytest.raises(ImageError, match="image-catalogue"):
        catalogue.resolve(image)


def test_a_teams_catalogue_comes_first() -> None:
    lines = {"data": {"team": "# ours\nacme.io/train:* = python:3.12 numpy pandas==2\nalpine = entrypoint:special\n"
                              "odd = docker"}}
    assert catalogue.resolve("acme.io/train:7", lines).environment == Environment(
        python="3.12", installs=(Install(packages=("numpy", "pandas==2")),))
    assert catalogue.resolve("alpine", lines).entrypoint == "special"
    with pytest.raises(ImageError, match="neither host"):
        catalogue.resolve("odd", lines)


def test_model_servers_bring_their_command() -> None:
    found = catalogue.resolve("kserve/sklearnserver:v0.15")
    assert found.with_lightship and found.command[-1] == "lightship.modelserver"


def command(pip: str) -> list[str]:
    return ["sh", "-c", BOOTSTRAP.format(pip), "sh", "-ec", RUN, "the source"]


def test_a_component_is_recognised_with_its_installs_in_order() -> None:
    pip = (f"{PIP}--index-url a.test/simple --trusted-host a.test 'pandas==2' \"it's\"  &&  {PIP}'kfp==2.14.3' "
           "'--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'")
    found = components.recognise(command(pip))
    assert found is not None
    assert found.installs == (
        Install(packages=("pandas==2", "it's"), options=("--index-url", "a.test/simple", "--trusted-host", "a.test")),
        Install(packages=("kfp==2.14.3", 'typing-extensions>=3.7.4,<5; python_version<"3.9"'), no_deps=True))
    assert found.source == "the source"
    assert found.spawn == ("sh", "-ec", RUN, "the source")


VENV = """
export PIP_DISABLE_PIP_VERSION_CHECK=1
tmp=$(mktemp -d)
python3 -m venv "$tmp/venv" --system-site-packages
. "$tmp/venv/bin/activate"
 """


def test_a_component_with_a_venv_is_one_whose_environment_is_its_own_anyway() -> None:
    found = components.recognise(command(f"{PIP}'six'  &&  {VENV}{PIP}'kfp==2.17.0' '--no-deps'"))
    assert found is not None
    assert [install.packages for install in found.installs] == [("six",), ("kfp==2.17.0",)]
    assert components.recognise(command(f"{VENV}{PIP}'kfp==2.17.0' '--no-deps'")) is not None
    assert components.recognise(command(f"{VENV}{VENV}{PIP}'kfp==2.17.0' '--no-deps'")) is None


@pytest.mark.parametrize("changed", [
    ["sh", "-c", "echo hello"],
    command(f"{PIP}'kfp==2.14.3' && rm -rf /"),
    command(f"{PIP}--pre 'kfp==2.14.3'"),
    command(f"{PIP}'pandas'"),
    command(f"{PIP}'unclosed"),
    [*command(f"{PIP}'kfp==2.14.3'")[:5], RUN + "echo more", "source"],
    [*command(f"{PIP}'kfp==2.14.3'"), "one more"],
])
def test_what_is_only_close_runs_literally(changed: list[str]) -> None:
    assert components.recognise(changed) is None


@pytest.mark.parametrize(("text", "expected"), [
    ("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$$(A)", "$(A)"), ("$(C)", "$(C)"), ("$A", "$A"), ("$", "$"), ("$(", "$("),
    ("$$", "$"), ("$$$(A)", "$1"), ("", ""),
])
def test_expansion_is_kubernetes_own(text: str, expected: str) -> None:
    assert variables.expand(text, {"A": "1", "B": "2"}) == expected


def make(container: dict[str, Any], **spec: Any) -> plan.ContainerPlan:
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [container], **spec}}
    return plan.make(pod, {"name": "main", **container}, plan.Surroundings(api_host="127.0.0.1", api_port=8781))


def test_a_component_may_be_warm_unless_its_variables_reach_the_interpreter() -> None:
    base = {"image": "python:3.11", "command": command(f"{PIP}'kfp==2.14.3' '--no-deps'"), "args": ["--x", "y"]}
    warm = make(base | {"env": [{"name": "WORD", "value": "x"}]})
    assert warm.component is not None and warm.arguments == ("--x", "y") and warm.installs_own
    for name in ("PYTHONHASHSEED", "LD_PRELOAD", "LC_ALL", "MALLOC_ARENA_MAX"):
        cold = make(base | {"env": [{"name": name, "value": "x"}]})
        assert cold.component is None
        assert cold.argv == ("sh", "-ec", RUN, "the source", "--x", "y")
        assert cold.environment == warm.environment


def test_pods_are_told_where_the_api_is() -> None:
    env = make({"image": "alpine", "command": ["true"]}).env
    assert (env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]) == ("127.0.0.1", "8781")


def test_users_and_groups() -> None:
    context = {"runAsNonRoot": True, "fsGroup": 7, "supplementalGroups": [8]}
    made = make({"image": "alpine", "command": ["true"], "securityContext": {"runAsGroup": 6}}, securityContext=context)
    assert made.security.run_as == security.RunAs(uid=security.IMAGE_USER, gid=6, groups=(8, 7))
    with pytest.raises(ConfigError, match="non-root"):
        make({"image": "alpine", "command": ["true"], "securityContext": {"runAsUser": 0, "runAsNonRoot": True}})


def test_no_command_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="Set the container's command"):
        make({"image": "alpine"})


def test_environments_below_the_home_or_tmp_are_shown_after_these() -> None:
    root = Root(survey=Survey(entries=(("/usr", ""), ("/bin", "usr/bin"))), mountpoint="/m", scratch="/s", tmpfs={},
                environment=("/root/python", "/tmp/data/env", "/usr/lib/python"), user_namespace=True,
                volumes=(Mount(source="/v", target="/tmp/kfp"),), identity=Identity(hostname="p", pod_ip="127.1.1.1"))
    targets = [entry["target"] for entry in sandbox_of(root)["mounts"]]
    assert targets.index("/root") < targets.index("/root/python")
    assert targets.index("/tmp") < targets.index("/tmp/data/env") < targets.index("/tmp/kfp")
    assert "/usr/lib/python" not in targets  # /usr shows it already


def test_only_programs_share_what_a_pods_containers_share() -> None:
    around = plan.Surroundings(api_host="127.0.0.1", api_port=8781)
    ours, theirs = {"image": "lightship.dev/launcher:v1"}, {"image": "alpine"}
    step: dict[str, Any] = {"spec": {"initContainers": [ours], "containers": [theirs, ours]}}
    assert not commons.wanted(step, around), "a pipeline's step is one program between functions of ours"
    assert commons.wanted({"spec": {"initContainers": [theirs], "containers": [theirs]}}, around)
    assert commons.wanted({"spec": {"containers": [theirs, {"image": "not/known"}]}}, around)
    memory = {"name": "m", "emptyDir": {"medium": "Memory"}}
    assert commons.wanted({"spec": {"containers": [theirs], "volumes": [memory]}}, around), "its lives share it"
