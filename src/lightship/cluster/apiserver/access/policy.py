"""The default policy of every cluster, as upstream has it: who may discover, view, edit and administer.

Data; ``bootstrap`` writes it at start. The platform's own identities are in ``platform_policy``.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightship.kube import rbac
from lightship.kube.objects import Object
from lightship.kube.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
TO_ADMIN, TO_EDIT, TO_VIEW = (f"rbac.authorization.k8s.io/aggregate-to-{name}" for name in ("admin", "edit", "view"))

_GROUP = CLUSTER_ROLES.group
_BOTH = ("system:authenticated", "system:unauthenticated")
_HEALTH = ("/healthz", "/livez", "/readyz", "/version", "/version/")


def rule(verbs: Sequence[str], group: str, *resources: str) -> Object:
    """A rule on resources of one group."""
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def paths(*urls: str) -> Object:
    """A rule that lets paths be read."""
    return {"nonResourceURLs": list(urls), "verbs": ["get"]}


def cluster_role(name: str, rules: Sequence[Object], labels: Sequence[str] = ()) -> Object:
    """A default ClusterRole; ``labels`` say into which others it is aggregated."""
    return {"apiVersion": CLUSTER_ROLES.api_version, "kind": CLUSTER_ROLES.kind,
            "metadata": {"name": name, "annotations": {rbac.AUTOUPDATE: "true"},
                         "labels": rbac.BOOTSTRAPPING | dict.fromkeys(labels, "true")},
            "rules": list(rules)}


def aggregated_role(name: str, sources: Sequence[str], labels: Sequence[str] = ()) -> Object:
    """A ClusterRole that is the sum of those that bear one of the labels ``sources``."""
    chosen = [{"matchLabels": {source: "true"}} for source in sources]
    return cluster_role(name, (), labels) | {"aggregationRule": {"clusterRoleSelectors": chosen}}


def cluster_binding(role: str, subjects: Sequence[Object], name: str = "") -> Object:
    """A default ClusterRoleBinding, named as its role unless something else is said."""
    return {"apiVersion": CLUSTER_ROLE_BINDINGS.api_version, "kind": CLUSTER_ROLE_BINDINGS.kind,
            "metadata": {"name": name or role, "annotations": {rbac.AUTOUPDATE: "true"},
                         "labels": dict(rbac.BOOTSTRAPPING)},
            "roleRef": {"apiGroup": _GROUP, "kind": CLUSTER_ROLES.kind, "name": role}, "subjects": list(subjects)}


def groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "apiGroup": _GROUP, "name": name} for name in names]


def _view() -> list[Object]:
    return [
        rule(READ, "", "configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods",
             "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services",
             "services/status"),
        rule(READ, "", "bindings", "events", "limitranges", "namespaces/status", "pods/log", "pods/status",
             "replicationcontrollers/status", "resourcequotas", "resourcequotas/status"),
        rule(READ, "", "namespaces"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(READ, "apps", "controllerrevisions", "daemonsets", "daemonsets/status", "deployments",
             "deployments/scale", "deployments/status", "replicasets", "replicasets/scale", "replicasets/status",
             "statefulsets", "statefulsets/scale", "statefulsets/status"),
        rule(READ, "autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
        rule(READ, "batch", "cronjobs", "cronjobs/status", "jobs", "jobs/status"),
        rule(READ, "policy", "poddisruptionbudgets", "poddisruptionbudgets/status"),
        rule(READ, "networking.k8s.io", "ingresses", "ingresses/status", "networkpolicies"),
    ]


def _edit() -> list[Object]:
    return [
        rule(READ, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"),
        rule(("impersonate",), "", "serviceaccounts"),
        rule(WRITE, "", "pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"),
        rule(("create",), "", "pods/eviction"),
        rule(WRITE, "", "configmaps", "events", "persistentvolumeclaims", "replicationcontrollers",
             "replicationcontrollers/scale", "secrets", "serviceaccounts", "services", "services/proxy"),
        rule(("create",), "", "serviceaccounts/token"),
        rule(WRITE, "apps", "daemonsets", "deployments", "deployments/rollback", "deployments/scale", "replicasets",
             "replicasets/scale", "statefulsets", "statefulsets/scale"),
        rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
        rule(WRITE, "batch", "cronjobs", "jobs"),
        rule(WRITE, "policy", "poddisruptionbudgets"),
        rule(WRITE, "networking.k8s.io", "ingresses", "networkpolicies"),
        rule((*READ, *WRITE), "coordination.k8s.io", "leases"),
    ]


def cluster_roles() -> list[Object]:
    """All of them, with the rules of the aggregated ones still to be filled in."""
    return [
        cluster_role("cluster-admin", [rule(("*",), "*", "*"), {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
        aggregated_role("admin", (TO_ADMIN,)),
        aggregated_role("edit", (TO_EDIT,), (TO_ADMIN,)),
        aggregated_role("view", (TO_VIEW,), (TO_EDIT,)),
        cluster_role("system:aggregate-to-admin", [
            rule(("create",), "authorization.k8s.io", "localsubjectaccessreviews"),
            rule((*READ, *WRITE), _GROUP, "rolebindings", "roles")], (TO_ADMIN,)),
        cluster_role("system:aggregate-to-edit", _edit(), (TO_EDIT,)),
        cluster_role("system:aggregate-to-view", _view(), (TO_VIEW,)),
        cluster_role("system:discovery", [paths("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*",
                                                *_HEALTH)]),
        cluster_role("system:basic-user", [
            rule(("create",), "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
            rule(("create",), "authentication.k8s.io", "selfsubjectreviews")]),
        cluster_role("system:public-info-viewer", [paths(*_HEALTH)]),
        cluster_role("system:monitoring", [paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics",
                                                 "/metrics/slis", "/readyz", "/readyz/*")]),
        cluster_role("system:service-account-issuer-discovery", [
            paths("/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks",
                  "/openid/v1/jwks/")]),
        cluster_role("system:auth-delegator", [
            rule(("create",), "authentication.k8s.io", "tokenreviews"),
            rule(("create",), "authorization.k8s.io", "subjectaccessreviews")]),
    ]


def cluster_role_bindings() -> list[Object]:
    return [
        cluster_binding("cluster-admin", groups("system:masters")),
        cluster_binding("system:discovery", groups("system:authenticated")),
        cluster_binding("system:basic-user", groups("system:authenticated")),
        cluster_binding("system:public-info-viewer", groups(*_BOTH)),
        cluster_binding("system:monitoring", groups("system:monitoring")),
        cluster_binding("system:service-account-issuer-discovery", groups("system:serviceaccounts")),
    ]
