"""Real kubectl on roles, questions about access, impersonation, tokens, quota and priority."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship.client import kubeconfig
from lightship.testing.embedded import EmbeddedApi, embedded_api
from tests.acceptance.kubectl.test_kubectl import Kubectl, installed, newest

pytestmark = pytest.mark.sdk

ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: jane}]
"""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EmbeddedApi]:
    async with embedded_api(tmp_path) as running:
        yield running


@pytest.fixture(params=[newest, installed])
async def kubectl(request: pytest.FixtureRequest, api: EmbeddedApi) -> Kubectl:
    return Kubectl(await asyncio.to_thread(request.param), api)


async def test_create_bind_ask_and_impersonate(kubectl: Kubectl) -> None:
    await kubectl("create", "role", "r", "--verb=get,list", "--resource=pods,pods/log,deployments.apps")
    await kubectl("create", "rolebinding", "b", "--role=r", "--user=jane", "--group=devs",
                  "--serviceaccount=default:default")
    await kubectl("create", "clusterrole", "cr", "--verb=get", "--non-resource-url=/metrics")
    await kubectl("create", "clusterrole", "agg", "--aggregation-rule=a=b")
    await kubectl("create", "clusterrolebinding", "crb", "--clusterrole=cr", "--group=devs")
    assert (await kubectl("auth", "can-i", "list", "pods", "--as=jane")).strip() == "yes"
    code, out, _ = await kubectl.run("auth", "can-i", "delete", "pods", "--as=jane")
    assert (code, out.strip()) == (1, "no")
    assert (await kubectl("auth", "can-i", "get", "/metrics", "--as=x", "--as-group=a", "--as-group=devs")).strip() == (
        "yes")
    listed = await kubectl("auth", "can-i", "--list", "--as=jane")
    assert "pods/log" in listed and "selfsubjectrulesreviews.authorization.k8s.io" in listed
    who = json.loads(await kubectl("auth", "whoami", "-o", "json", "--as=jane", "--as-group=devs", "--as-uid=7"))
    assert who["status"]["userInfo"] == {"username": "jane", "uid": "7", "groups": ["devs", "system:authenticated"]}
    code, _, error = await kubectl.run("get", "secrets", "--as=jane")
    assert code == 1 and error.strip() == (
        'Error from server (Forbidden): secrets is forbidden: User "jane" cannot list resource "secrets" in API group '
        '"" in the namespace "default"')


async def test_tables_and_descriptions(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=ROLES)
    assert "CREATED AT" in await kubectl("get", "role")
    assert "Role/reader" in await kubectl("get", "rolebinding")
    wide = await kubectl("get", "rolebinding", "-o", "wide")
    assert "USERS" in wide and "jane" in wide
    assert "pods" in await kubectl("describe", "role", "reader")
    assert "jane" in await kubectl("describe", "rolebinding", "reader")
    assert "cluster-admin" in await kubectl("get", "clusterroles,clusterrolebindings")
    assert "verbs" in await kubectl("explain", "role.rules")
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=ROLES)


async def test_reconcile(kubectl: Kubectl) -> None:
    assert "reconciled" in await kubectl("auth", "reconcile", "-f", "-", stdin=ROLES)
    more = ROLES.replace("verbs: [get, list]", "verbs: [watch]").replace("name: jane", "name: joe")
    await kubectl("auth", "reconcile", "-f", "-", stdin=more)
    role = json.loads(await kubectl("get", "role", "reader", "-o", "json"))
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    binding = json.loads(await kubectl("get", "rolebinding", "reader", "-o", "json"))
    assert {subject["name"] for subject in binding["subjects"]} == {"jane", "joe"}


async def test_a_token_of_an_account_opens_what_its_roles_say(kubectl: Kubectl, api: EmbeddedApi) -> None:
    await kubectl("create", "serviceaccount", "robot")
    await kubectl("create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot")
    token = (await kubectl("create", "token", "robot", "--duration=1h", "--audience=https://kubernetes.default.svc")
             ).strip()
    other = api.directory / "robot"
    other.write_text(kubeconfig.render(api.url, api.ca_pem, token))
    robot = ("--kubeconfig", str(other))
    assert "system:serviceaccount:default:robot" in await kubectl("auth", "whoami", *robot)
    await kubectl("get", "pods", *robot)
    code, _, error = await kubectl.run("get", "secrets", *robot)
    assert code == 1 and 'User "system:serviceaccount:default:robot" cannot list resource "secrets"' in error
    code, _, error = await kubectl.run("create", "configmap", "x", *robot)
    assert code == 1 and "cannot create resource" in error
    code, _, error = await kubectl.run("get", "pods", "-A", *robot)
    assert code == 1 and "at the cluster scope" in error


async def test_quota_limits_and_priority(kubectl: Kubectl) -> None:
    await kubectl("create", "quota", "q", "--hard=pods=1,count/configmaps=3", "--scopes=")
    await kubectl("create", "priorityclass", "high", "--value=1000", "--description=x")
    assert "1000" in await kubectl("get", "priorityclass", "high")
    await kubectl("run", "a", "--image=busybox", "--restart=Never")
    code, _, error = await kubectl.run("run", "b", "--image=busybox", "--restart=Never")
    assert code == 1 and error.strip() == (
        'Error from server (Forbidden): pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, '
        "limited: pods=1")
    assert "q" in await kubectl("get", "quota")
    await kubectl("describe", "quota", "q")
