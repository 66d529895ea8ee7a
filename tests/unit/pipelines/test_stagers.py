"""What a step's Pod says of how its files are moved, on the embedded node and on any other cluster."""

from __future__ import annotations

from typing import Any

from lightship.domains.pipelines import children, execution, stagers
from lightship.launcher import staging
from tests.unit.pipelines.test_step import step

ENDPOINT = stagers.Launcher(image="team/lightship:1", is_program=True, location="https://minio:9000",
                            region="eu-west-1", secret="keys")
CLAIM = stagers.Launcher(image="team/lightship:1", is_program=True, claim="artifacts")


def made(launcher: stagers.Launcher, **given: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The Pod, and its two stagers."""
    found = step(**given)
    pod = children.make_pod(found, execution.job_of(found.run, found.pipeline), launcher)
    return pod, [pod["spec"]["initContainers"][0], pod["spec"]["containers"][-1]]


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_on_the_embedded_node_stagers_need_nothing() -> None:
    pod, both = made(stagers.EMBEDDED)
    for stager in both:
        assert stager["image"] == "lightship.dev/launcher:v1"
        assert not {"command", "securityContext", "resources"} & set(stager)
        assert set(env(stager)) == {"LIGHTSHIP_STAGING", "POD_NAME", "POD_NAMESPACE"}
    assert pod == made(stagers.EMBEDDED)[0]


def test_elsewhere_they_are_a_program_with_the_endpoint_and_its_keys_and_the_step_gets_neither() -> None:
    pod, both = made(ENDPOINT)
    for stager in both:
        assert stager["image"] == "team/lightship:1"
        assert stager["command"] == ["python3", "-m", "lightship.launcher"] and stager["args"] == [stager["name"]]
        assert env(stager)["LIGHTSHIP_ARTIFACTS"] == "https://minio:9000" and env(stager)["AWS_REGION"] == "eu-west-1"
        assert env(stager)["AWS_ACCESS_KEY_ID"] == {"secretKeyRef": {"name": "keys", "key": "accesskey"}}
        assert env(stager)["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "keys", "key": "secretkey"}}
        assert stager["resources"]["requests"] and "cpu" not in stager["resources"]["limits"]
    main = pod["spec"]["containers"][0]
    assert not {name for name in env(main) if name.startswith(("AWS_", "LIGHTSHIP_"))}


def test_a_claim_is_mounted_in_stagers_only() -> None:
    pod, both = made(CLAIM)
    assert pod["spec"]["volumes"][-1] == {"name": "lightship-artifacts",
                                          "persistentVolumeClaim": {"claimName": "artifacts"}}
    for stager in both:
        assert {"name": "lightship-artifacts", "mountPath": "/artifacts"} in stager["volumeMounts"]
        assert env(stager)["LIGHTSHIP_ARTIFACTS"] == "/artifacts" and "AWS_ACCESS_KEY_ID" not in env(stager)
    assert all(mount["name"] != "lightship-artifacts" for mount in pod["spec"]["containers"][0]["volumeMounts"])


def test_stagers_are_the_user_that_the_step_is_told_to_be() -> None:
    given = {"securityContext": {"runAsUser": 1000, "runAsGroup": 100, "runAsNonRoot": True}}
    for stager in made(ENDPOINT, config=given)[1]:
        assert stager["securityContext"] == {
            "runAsUser": 1000, "runAsGroup": 100, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
    for stager in made(ENDPOINT)[1]:
        assert stager["securityContext"] == {"allowPrivilegeEscalation": False,
                                             "seccompProfile": {"type": "RuntimeDefault"}}


def test_a_plan_that_no_variable_could_hold_is_packed_and_read_back() -> None:
    plan = {"inputs": [{"uri": f"minio://bucket/runs/{number}/model", "path": f"/minio/bucket/runs/{number}/model"}
                       for number in range(2000)]}
    made_env = {launcher: env(stagers.container("stage-in", plan, [], launcher))["LIGHTSHIP_STAGING"]
                for launcher in (ENDPOINT, stagers.EMBEDDED)}
    assert len(made_env[ENDPOINT]) < stagers.MAX_PLAIN_BYTES < len(made_env[stagers.EMBEDDED])
    assert staging.read_plan(made_env[ENDPOINT]) == plan == staging.read_plan(made_env[stagers.EMBEDDED])
