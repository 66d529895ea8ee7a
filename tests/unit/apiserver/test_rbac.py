"""Access by Roles and bindings, through ``handle`` as users see it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.client.transport import Request, User
from lightship.cluster.apiserver import bootstrap
from lightship.cluster.apiserver.access import Attributes, platform_policy, rbac, rules
from lightship.cluster.builtin import names
from lightship.kube import objects, resources
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, PODS, SECRETS
from lightship.testing.embedded import EmbeddedApi
from tests.unit.apiserver.conftest import Caller

JANE = User(name="jane", groups=("dev", "system:authenticated"))
GROUP = "rbac.authorization.k8s.io"


def role(name: str, *given: Object, namespace: str = "default") -> Object:
    return {"metadata": {"name": name} | ({"namespace": namespace} if namespace else {}), "rules": list(given)}


def rule(verbs: list[str], names: list[str], group: str = "", **more: Any) -> Object:
    return {"verbs": verbs, "apiGroups": [group], "resources": names} | more


def binding(name: str, of: str, *subjects: Object, namespace: str = "default") -> Object:
    kind = of.partition("/")[0]
    return {"metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
            "roleRef": {"kind": kind, "name": of.partition("/")[2]}, "subjects": list(subjects)}


def user(name: str = "jane") -> Object:
    return {"kind": "User", "name": name}


async def allow(client: Client, *given: Object) -> None:
    await client.create(resources.ROLES, role("r", *given))
    await client.create(resources.ROLE_BINDINGS, binding("b", "Role/r", user()))


async def test_a_user_without_roles_is_told_in_upstreams_words(api: EmbeddedApi, caller: Caller) -> None:
    jane = api.in_process(JANE)
    with pytest.raises(errors.Forbidden) as e:
        await jane.list(PODS, Selection(namespace="default"))
    assert str(e.value) == ('pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the '
                            'namespace "default"')
    with pytest.raises(errors.Forbidden) as e:
        await jane.get(resources.NODES, "n")
    assert str(e.value) == ('nodes "n" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the '
                            "cluster scope")
    with pytest.raises(errors.Forbidden) as e:
        await jane.raw("GET", "/metrics")
    assert str(e.value) == 'forbidden: User "jane" cannot get path "/metrics"'


async def test_a_role_is_for_its_namespace_its_verbs_and_its_names(api: EmbeddedApi) -> None:
    admin, jane = api.in_process(), api.in_process(JANE)
    await allow(admin, rule(["get", "list"], ["pods", "pods/log"]), rule(["get"], ["secrets"], resourceNames=["mine"]))
    for name in ("mine", "theirs"):
        await admin.create(SECRETS, {"metadata": {"name": name, "namespace": "default"}})
    await jane.list(PODS, Selection(namespace="default"))
    await jane.get(SECRETS, "mine", "default")
    for forbidden in (jane.list(PODS), jane.list(PODS, Selection(namespace="kube-system")),
                      jane.get(SECRETS, "theirs", "default"), jane.list(SECRETS, Selection(namespace="default")),
                      jane.delete(PODS, Key("default", "p")), jane.get(PODS, "p", "kubeflow")):
        with pytest.raises(errors.Forbidden):
            await forbidden
    with pytest.raises(errors.NotFound):
        await jane.get(PODS, "nope", "default")


async def test_a_binding_counts_at_once_and_no_longer_than_it_is_there(api: EmbeddedApi) -> None:
    admin, jane = api.in_process(), api.in_process(JANE)
    for _ in range(3):
        await allow(admin, rule(["list"], ["configmaps"]))
        await jane.list(CONFIGMAPS, Selection(namespace="default"))
        await admin.delete(resources.ROLE_BINDINGS, Key("default", "b"))
        with pytest.raises(errors.Forbidden):
            await jane.list(CONFIGMAPS, Selection(namespace="default"))
        await admin.delete(resources.ROLES, Key("default", "r"))


async def test_a_list_or_watch_of_one_name_takes_the_permission_for_that_name(api: EmbeddedApi) -> None:
    admin, jane = api.in_process(), api.in_process(JANE)
    await allow(admin, rule(["list", "watch"], ["configmaps"], resourceNames=["a"]))
    await jane.list(CONFIGMAPS, Selection(namespace="default", fields="metadata.name=a"))
    for fields in ("metadata.name=b", "", "metadata.name!=a"):
        with pytest.raises(errors.Forbidden):
            await jane.list(CONFIGMAPS, Selection(namespace="default", fields=fields))


async def test_groups_accounts_and_cluster_roles(api: EmbeddedApi) -> None:
    admin = api.in_process()
    await admin.create(resources.CLUSTER_ROLE_BINDINGS, binding(
        "dev-view", "ClusterRole/view", {"kind": "Group", "name": "dev"}, namespace=""))
    await api.in_process(JANE).list(PODS)
    account = User(name="system:serviceaccount:default:robot", groups=("system:serviceaccounts",
                                                                       "system:authenticated"))
    await admin.create(resources.ROLE_BINDINGS, binding(
        "robot", "ClusterRole/edit", {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}))
    robot = api.in_process(account)
    await robot.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "default"}})
    await robot.get(resources.NAMESPACES, "default")  # a Namespace lies in itself
    with pytest.raises(errors.Forbidden):
        await robot.get(resources.NAMESPACES, "kubeflow")
    with pytest.raises(errors.Forbidden):
        await robot.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "kubeflow"}})


async def test_a_default_account_may_discover_and_nothing_else(api: EmbeddedApi, caller: Caller) -> None:
    account = User(name="system:serviceaccount:default:default", groups=("system:serviceaccounts",
                                                                         "system:authenticated"))
    for path in ("/api", "/apis", "/api/v1", "/openapi/v3", "/version", "/apis/apps/v1"):
        assert (await api.server.handle(Request(method="GET", path=path, user=account))).status == 200, path
    for served in api.server.registry.served:
        if "list" in served.verbs:
            path = served.resource.path()
            assert (await api.server.handle(Request(method="GET", path=path, user=account))).status == 403, path


@pytest.mark.parametrize("path", ["/api/v1/nodes", "/api/v1/namespaces/default/pods/p/log",
                                  "/api/v1/namespaces/default/services/s/proxy/x", "/metrics",
                                  "/apis/no.such/v1/things", "/api/v1/namespaces/default/nothings", "/mounted/x",
                                  "/nowhere"])
async def test_every_route_is_reviewed(api: EmbeddedApi, path: str) -> None:
    async def never(request: Request) -> Any:
        raise AssertionError("nobody may come here")

    api.server.mounts["/mounted/"] = never
    answer = await api.server.handle(Request(method="GET", path=path, user=JANE))
    assert answer.status == 403, answer.body


async def test_nobody_grants_more_than_he_holds(api: EmbeddedApi) -> None:
    admin, jane = api.in_process(), api.in_process(JANE)
    await admin.create(resources.ROLE_BINDINGS, binding("jane", "ClusterRole/admin", user()))
    await jane.create(resources.ROLES, role("pods", rule(["get", "list"], ["pods"])))
    await jane.create(resources.ROLE_BINDINGS, binding("friend", "Role/pods", user("joe")))
    with pytest.raises(errors.Forbidden) as e:
        await jane.create(resources.ROLES, role("more", rule(["get", "list"], ["nodes"])))
    assert str(e.value) == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["dev" "system:authenticated"]) is '
        'attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}')
    with pytest.raises(errors.Forbidden):
        await jane.create(resources.ROLE_BINDINGS, binding("x", "ClusterRole/cluster-admin", user()))
    with pytest.raises(errors.NotFound):
        await jane.create(resources.ROLE_BINDINGS, binding("x", "Role/none", user()))
    with pytest.raises(errors.Forbidden):
        await jane.patch(resources.ROLES, Key("default", "pods"), {"rules": [rule(["*"], ["*"], "*")]})
    await jane.patch(resources.ROLES, Key("default", "pods"), {"metadata": {"labels": {"a": "b"}}})


async def test_a_role_too_large_to_compare_is_refused(api: EmbeddedApi) -> None:
    admin, jane = api.in_process(), api.in_process(JANE)
    await admin.create(resources.ROLE_BINDINGS, binding("jane", "ClusterRole/admin", user()))
    many = [f"x{number}" for number in range(200)]
    with pytest.raises(errors.Forbidden, match="single permissions"):
        await jane.create(resources.ROLES, role("huge", {"verbs": many, "apiGroups": many, "resources": many}))


async def test_impersonation_takes_its_own_permission(api: EmbeddedApi, caller: Caller) -> None:
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    status, body = await caller.json("POST", review, {}, impersonate_user="jane", impersonate_group="a\nb")
    assert (status, body["status"]["userInfo"]["username"]) == (201, "jane")
    assert body["status"]["userInfo"]["groups"] == ["a", "b", "system:authenticated"]
    status, body = await caller.json("GET", "/api/v1/pods", impersonate_user="jane")
    assert status == 403 and 'User "jane" cannot list' in body["message"]
    status, body = await caller.json("GET", "/api/v1/pods", impersonate_group="a")
    assert status == 400
    headers = {"impersonate-user": "system:admin"}
    answer = await api.server.handle(Request(method="GET", path="/api/v1/pods", headers=headers, user=JANE))
    assert answer.status == 403 and b'cannot impersonate resource \\"users\\"' in (answer.body or b"")


async def test_reviews_say_why(api: EmbeddedApi, caller: Caller) -> None:
    await allow(api.in_process(), rule(["get"], ["pods"]))
    asked = {"verb": "get", "resource": "pods", "namespace": "default"}
    _, body = await caller.json("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                                {"spec": {"user": "jane", "resourceAttributes": asked}})
    assert body["status"] == {"allowed": True, "reason": 'RBAC: allowed by RoleBinding "b/default" of Role "r" to User '
                                                         '"jane"'}
    _, body = await caller.json("POST", "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
                                {"metadata": {"namespace": "default"},
                                 "spec": {"user": "jane", "resourceAttributes": asked}})
    assert body["status"]["allowed"]
    headers = {"impersonate_user": "jane"}
    _, body = await caller.json("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                                {"spec": {"namespace": "default"}}, **headers)
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]} in body["status"]["resourceRules"]
    assert any("/api" in rule["nonResourceURLs"] for rule in body["status"]["nonResourceRules"])


async def test_a_missing_role_is_the_reason(api: EmbeddedApi) -> None:
    lost = binding("x", "ClusterRole/lost", user(), namespace="")
    await api.in_process().create(resources.CLUSTER_ROLE_BINDINGS, lost)
    with pytest.raises(errors.Forbidden, match=r'RBAC: clusterrole.rbac.authorization.k8s.io "lost" not found'):
        await api.in_process(JANE).list(PODS)


@pytest.mark.parametrize(("given", "fault"), [
    (role("r", {"verbs": [], "apiGroups": [""], "resources": ["pods"]}), "verbs must contain at least one value"),
    (role("r", {"verbs": ["get"], "resources": ["pods"]}), "must supply at least one api group"),
    (role("r", {"verbs": ["get"], "nonResourceURLs": ["/x"]}), "namespaced rules cannot apply to non-resource URLs"),
])
async def test_broken_roles_are_refused(api: EmbeddedApi, given: Object, fault: str) -> None:
    with pytest.raises(errors.InvalidInput, match=fault):
        await api.in_process().create(resources.ROLES, given)


async def test_a_bindings_role_cannot_change(api: EmbeddedApi) -> None:
    admin = api.in_process()
    await admin.create(resources.ROLE_BINDINGS, binding("b", "ClusterRole/view", user()))
    with pytest.raises(errors.InvalidInput, match="cannot change roleRef"):
        await admin.patch(resources.ROLE_BINDINGS, Key("default", "b"), {"roleRef": {"name": "edit"}})


async def test_bootstrap_mends_its_roles_and_leaves_those_taken_in_hand(api: EmbeddedApi) -> None:
    admin = api.in_process()
    before = api.store.revision
    await bootstrap.ensure(admin)
    assert api.store.revision == before, "a second start writes nothing"
    for name, value in (("view", "true"), ("system:discovery", "false"), ("system:basic-user", "true")):
        await admin.patch(resources.CLUSTER_ROLES, Key("", name), {
            "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": value}},
            **({"rules": []} if name != "view" else {})})
    await bootstrap.ensure(admin)
    assert (await admin.get(resources.CLUSTER_ROLES, "system:basic-user"))["rules"]
    assert not (await admin.get(resources.CLUSTER_ROLES, "system:discovery")).get("rules")


def test_aggregated_roles_are_sums_of_sums() -> None:
    roles = {objects.name(obj): obj for obj in bootstrap.filled(
        [*bootstrap.policy.cluster_roles(), *platform_policy.cluster_roles()])}
    verbs = {verb for one in roles["admin"]["rules"] if "pods" in one["resources"] for verb in one["verbs"]}
    assert {"get", "list", "watch", "create", "delete"} <= verbs
    serving = [one for one in roles["kubeflow-view"]["rules"] if "serving.kserve.io" in one["apiGroups"]]
    assert serving and not {"create", "*"} & set(serving[0]["verbs"])


async def test_the_index_follows_the_store_and_remembers(api: EmbeddedApi) -> None:
    judge = rbac.Rbac(api.store)
    asked = Attributes("get", "", "pods", "", "default", "p")
    assert not judge.decide(JANE, asked).allowed
    await allow(api.in_process(), rule(["get"], ["pods"]))
    assert judge.decide(JANE, asked) is judge.decide(JANE, asked)
    assert judge.decide(JANE, asked).allowed
    await asyncio.gather(*(api.in_process().create(resources.ROLE_BINDINGS, binding(
        f"b{number}", "Role/r", user(f"u{number}"))) for number in range(50)))
    assert all(judge.decide(User(name=f"u{number}"), asked).allowed for number in range(50))


def test_rules_match_as_upstreams() -> None:
    def allows(given: Object, **asked: str) -> bool:
        return rules.concerns(rules.compile(given), Attributes(**{"verb": "get"} | asked))

    assert allows(rule(["*"], ["*/scale"], "*"), group="apps", resource="deployments", subresource="scale")
    assert not allows(rule(["*"], ["*/scale"], "*"), group="apps", resource="deployments")
    assert not allows(rule(["get"], ["pods"]), resource="pods", subresource="log")
    assert allows(rule(["get"], ["*"]), resource="pods", subresource="log")
    assert allows({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}, path="/healthz/etcd")
    assert not allows({"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}, path="/healthz")


def test_every_identity_of_the_built_in_controllers_has_a_role() -> None:
    """Whoever adds a controller adds its rules to ``access/platform_policy.py``."""
    import importlib
    import pkgutil

    from lightship.cluster import builtin

    found = {getattr(importlib.import_module(f"{builtin.__name__}.{module.name}"), "NAME", None)
             for module in pkgutil.iter_modules(builtin.__path__)}
    assert {name for name in found if name} <= set(platform_policy.IDENTITIES)
    assert names.EDITOR_ROLE == platform_policy.EDITOR_ROLE
