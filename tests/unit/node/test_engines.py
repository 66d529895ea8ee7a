"""What podman and docker are told, and what their refusals come to. No engine is needed."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.node import catalogue, plan
from lightship.cluster.node.cgroups import Limits
from lightship.cluster.node.engines import arguments, engine, identity, words
from lightship.cluster.node.engines.arguments import Adaptation, Bind, User, Wanted
from lightship.cluster.node.errors import ConfigError, ImageError, StartError

PODMAN, DOCKER = Adaptation(), Adaptation(kind="docker")


def wanted(**more: Any) -> Wanted:
    return Wanted(**{"name": "one", "image": "example.org/box:1", "labels": {"a": "b"}} | more)


def test_a_command_takes_the_place_of_the_entrypoint_and_arguments_follow_the_image() -> None:
    words_ = arguments.create(wanted(command=("sh", "-c"), arguments=("echo hi",)), PODMAN)

    assert "--entrypoint=sh" in words_
    assert words_[words_.index("example.org/box:1"):] == ("example.org/box:1", "-c", "echo hi")


def test_arguments_alone_leave_the_entrypoint_to_the_image() -> None:
    words_ = arguments.create(wanted(arguments=("serve",)), PODMAN)

    assert not any(word.startswith("--entrypoint") for word in words_)
    assert words_[-2:] == ("example.org/box:1", "serve")


def test_values_of_variables_are_not_on_the_command_line_but_where_the_client_would_read_them() -> None:
    asked = wanted(env={"TOKEN": "secret", "HOME": "/x", "TAKEN": "mine"}, taken=frozenset({"TAKEN"}))

    words_ = arguments.create(asked, PODMAN)

    assert {"--env=TOKEN", "--env=HOME=/x", "--env=TAKEN=mine"} <= set(words_)
    assert arguments.inherited(asked) == {"TOKEN": "secret"}


def test_limits_are_told_as_far_as_the_engine_has_them() -> None:
    asked = wanted(limits=Limits(memory_bytes=1024, processes=9, cpu_millis=500))

    assert {"--memory=1024", "--memory-swap=1024", "--pids-limit=9", "--cpus=0.500"} <= set(
        arguments.create(asked, PODMAN))
    some = arguments.create(asked, Adaptation(limits=frozenset({"pids"})))
    assert "--pids-limit=9" in some and not any(word.startswith(("--memory", "--cpu")) for word in some)


def test_mounts_users_and_rights_are_told() -> None:
    asked = wanted(binds=(Bind(source="/a", target="/b", read_only=True), Bind(source="/c:d", target="/e")),
                   memory_mounts={"/m": 5}, user=User(flag="7:8", groups=(9,)), capabilities=(0,))

    assert {"--volume=/a:/b:ro", "--mount=type=bind,source=/c:d,target=/e", "--tmpfs=/m:mode=1777,size=5", "--user=7:8",
            "--group-add=9", "--cap-drop=ALL", "--cap-add=CHOWN"} <= set(arguments.create(asked, PODMAN))


def test_the_output_goes_through_our_own_pipes_with_podman_only() -> None:
    assert "--log-driver=passthrough" in arguments.create(wanted(), PODMAN)
    assert "--log-driver=none" in arguments.create(wanted(), DOCKER)
    assert {"--tty", "--log-driver=none"} <= set(arguments.create(wanted(tty=True), PODMAN))


@pytest.mark.parametrize("image", ["", "--privileged"])
def test_what_is_no_image_never_reaches_the_engine(image: str) -> None:
    with pytest.raises(StartError) as raised:
        arguments.create(wanted(image=image), PODMAN)

    assert raised.value.waiting == "InvalidImageName"


def test_the_engines_reason_is_told_without_its_chatter() -> None:
    said = 'Trying to pull localhost/none:1...\nError: initializing source docker://localhost/none:1: refused\n'

    error = words.could_not_pull("podman", "localhost/none:1", said)

    assert error.waiting == "ErrImagePull"
    assert error.message == \
        'failed to pull image "localhost/none:1": initializing source docker://localhost/none:1: refused'


@pytest.mark.parametrize(("context", "image_user", "flag"), [
    ({}, "", ""), ({}, "app", "app"), ({"runAsUser": 5}, "app", "5"), ({"runAsGroup": 6}, "app:x", "app:6"),
    ({"runAsUser": 5, "runAsGroup": 6}, "", "5:6"), ({"runAsNonRoot": True}, "1001", "1001"),
])
def test_the_pod_says_who_a_container_is_and_else_the_image(context: dict[str, Any], image_user: str,
                                                            flag: str) -> None:
    assert identity.user_of({"spec": {"securityContext": context}}, {}, image_user).flag == flag


@pytest.mark.parametrize("image_user", ["", "0", "root:root", "app"])
def test_a_container_that_must_not_be_root_is_not_run_as_who_may_be(image_user: str) -> None:
    with pytest.raises(ConfigError):
        identity.user_of({"spec": {}}, {"securityContext": {"runAsNonRoot": True}}, image_user)


def test_the_way_with_all_limits_is_tried_first_and_the_one_without_groups_last() -> None:
    ways = engine.attempts(1024, joins_networks=True)

    assert ways[0] == Adaptation(joins_networks=True)
    assert "--cgroups=disabled" in ways[-1].more and not ways[-1].limits


def test_what_the_catalogue_does_not_map_is_the_engines_where_there_is_one() -> None:
    assert catalogue.resolve("example.org/box:1", engine=True).by_engine
    assert not catalogue.resolve("busybox", engine=True).by_engine
    lines = {"data": {"x": "busybox* = engine"}}
    assert catalogue.resolve("busybox:1", lines, engine=True).by_engine
    with pytest.raises(ImageError, match="none is configured"):
        catalogue.resolve("busybox:1", lines)


def test_a_container_of_an_engine_keeps_what_its_image_says() -> None:
    container = {"name": "main", "image": "example.org/box:1"}
    made = plan.make({"metadata": {"name": "p"}, "spec": {"containers": [container]}}, container,
                     plan.Surroundings(engine=True))

    assert made.by_engine and made.argv == () and made.workdir == ""
    assert "HOME" not in made.env and "LANG" not in made.env
