"""What the platform's own identities may do, each in one place, and the roles by which people use what it adds.

Data; ``bootstrap`` writes it at start. Everything of ours that talks to the API server does so as
``system:serviceaccount:kubeflow:NAME`` and has the ClusterRole ``lightship:NAME`` below, or nothing beyond discovery:
whoever adds a controller adds its rules here.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship.cluster.apiserver.access import policy
from lightship.cluster.apiserver.access.policy import READ, WRITE, rule
from lightship.kube.objects import Object

NAMESPACE = "kubeflow"
TO_KUBEFLOW_ADMIN, TO_KUBEFLOW_EDIT, TO_KUBEFLOW_VIEW = (
    f"rbac.authorization.kubeflow.org/aggregate-to-kubeflow-{name}" for name in ("admin", "edit", "view"))

ROUTES_ROLE = "lightship:pipelines-routes"
"""Lets whoever is known through to KFP's REST at the Kubernetes API's door, where every route has its own review."""
EDITOR_ROLE = "kubeflow-edit"
"""What the account ``default-editor`` of each namespace is bound to there."""

_EVENTS = (rule(("create", "get", "patch"), "", "events"), rule(("create", "get", "patch"), "events.k8s.io", "events"))
"""The recorder looks for the event that it would otherwise write again."""
_DELEGATION = (rule(("create",), "authentication.k8s.io", "tokenreviews"),
               rule(("create",), "authorization.k8s.io", "subjectaccessreviews"))
_POD_OWNER = (*_EVENTS, rule(("create", "delete", "get", "list", "patch", "update", "watch"), "", "pods"))
_CHANGE = ("get", "patch", "update")
_CLAIMS = (rule((*READ, *WRITE), "", "persistentvolumeclaims", "persistentvolumes"),
           rule(("patch", "update"), "", "persistentvolumeclaims/status", "persistentvolumes/status"),
           rule(READ, "storage.k8s.io", "storageclasses"))
_V1_JOBS = ("jaxjobs", "mpijobs", "paddlejobs", "pytorchjobs", "tfjobs", "xgboostjobs")


def _status(group: str, plural: str) -> Object:
    return rule(_CHANGE, group, plural, f"{plural}/status", f"{plural}/finalizers")


IDENTITIES: dict[str, tuple[Object, ...]] = {
    # The server's own pieces.
    "informers": (rule(READ, "*", "*"),),
    "lightship": (rule(("create", "get", "list", "patch", "update", "watch"), "coordination.k8s.io", "leases"),
                  rule(("create", "get"), "", "namespaces", "serviceaccounts"),
                  rule(("create",), "", "serviceaccounts/token")),
    "rest": _DELEGATION,
    "gateway": (*_DELEGATION, rule(READ, "", "configmaps", "services")),
    "node": (*_EVENTS,
             rule(("create", "get", "list", "patch", "update", "watch"), "", "nodes"),
             rule(("patch", "update"), "", "nodes/status", "pods/status"),
             rule(("create", "get"), "", "namespaces"),
             rule(("delete", "get", "list", "patch", "watch"), "", "pods"),
             rule(READ, "", "configmaps", "persistentvolumeclaims", "persistentvolumes", "secrets", "services"),
             rule(("get", "patch", "update"), "", "persistentvolumeclaims/status", "persistentvolumes/status"),
             rule(("delete", "patch"), "", "persistentvolumes"),
             rule(READ, "discovery.k8s.io", "endpointslices"),
             rule(READ, "", "endpoints", "resourcequotas"),
             rule(("create",), "", "serviceaccounts/token"),
             rule(("create", "get", "patch", "update"), "coordination.k8s.io", "leases")),
    # What Kubernetes' own controller manager and scheduler would do.
    "scheduler": (*_EVENTS, rule(("create",), "", "pods/binding"), rule(("patch", "update"), "", "pods/status"),
                  rule(("delete", "get", "patch"), "", "pods"), rule(("create",), "", "pods/eviction"),
                  rule(_CHANGE, "", "persistentvolumeclaims", "persistentvolumes"),
                  _status("scheduling.x-k8s.io", "podgroups")),
    "podgroup-controller": (_status("scheduling.x-k8s.io", "podgroups"),),
    "deployment-controller": (*_EVENTS, _status("apps", "deployments"), rule((*READ, *WRITE), "apps", "replicasets"),
                              rule(("get", "list", "patch", "update"), "", "pods")),
    "replicaset-controller": (*_POD_OWNER, _status("apps", "replicasets"), _status("", "replicationcontrollers")),
    "statefulset-controller": (*_POD_OWNER, _status("apps", "statefulsets"),
                               rule((*READ, *WRITE), "apps", "controllerrevisions"),
                               rule((*READ, *WRITE), "", "persistentvolumeclaims")),
    "daemonset-controller": (*_POD_OWNER, _status("apps", "daemonsets"),
                             rule((*READ, *WRITE), "apps", "controllerrevisions")),
    "job-controller": (*_POD_OWNER, _status("batch", "jobs"), rule(("delete",), "batch", "jobs")),
    "cronjob-controller": (*_EVENTS, _status("batch", "cronjobs"), rule((*READ, *WRITE), "batch", "jobs")),
    "ttl-after-finished-controller": (rule(("delete", "get"), "batch", "jobs"),),
    "jobset-controller": (*_EVENTS, _status("jobset.x-k8s.io", "jobsets"),
                          rule(("delete",), "jobset.x-k8s.io", "jobsets"), rule((*READ, *WRITE), "batch", "jobs"),
                          rule((*READ, *WRITE), "", "services"),
                          rule(("create",), "", "persistentvolumeclaims"),
                          rule(("delete", "get"), "", "pods")),
    "endpointslice-controller": (*_EVENTS, rule((*READ, *WRITE), "discovery.k8s.io", "endpointslices"),
                                 rule((*READ, *WRITE), "", "endpoints"),
                                 rule(("patch", "update"), "", "services/status")),
    "namespace-furnisher": (rule(("create", "get", "patch", "update"), "", "configmaps", "serviceaccounts"),
                            rule(("create", "get", "patch", "update"), "rbac.authorization.k8s.io", "rolebindings"),
                            rule(("bind",), "rbac.authorization.k8s.io", "clusterroles")
                            | {"resourceNames": [EDITOR_ROLE]}),
    "namespace-controller": (rule((*READ, *WRITE), "*", "*"), rule(("patch", "update"), "", "namespaces/status",
                                                                   "namespaces/finalize")),
    "garbage-collector": (rule((*READ, "delete", "patch", "update"), "*", "*"),),
    "pod-garbage-collector": (rule(("delete", "get", "list", "watch"), "", "pods"),
                              rule(("patch",), "", "pods/status")),
    "node-controller": (*_EVENTS, rule(("get", "patch", "update"), "", "nodes", "nodes/status"),
                        rule(("delete", "get", "patch"), "", "pods"), rule(("patch", "update"), "", "pods/status"),
                        rule(("create",), "", "pods/eviction"), rule(READ, "coordination.k8s.io", "leases")),
    "disruption-controller": (*_EVENTS, _status("policy", "poddisruptionbudgets"),
                              rule(("patch", "update"), "", "pods/status")),
    "persistent-volume-binder": (*_EVENTS, *_CLAIMS),
    "persistent-volume-controller": (*_EVENTS, *_CLAIMS),
    "ephemeral-volume-controller": (*_EVENTS, *_CLAIMS),
    "horizontal-pod-autoscaler": (*_EVENTS, _status("autoscaling", "horizontalpodautoscalers"),
                                  rule(_CHANGE, "*", "*/scale"), rule(READ, "metrics.k8s.io", "*")),
    "custom-kinds": (rule(READ, "apiextensions.k8s.io", "customresourcedefinitions"),),
    "event-controller": (rule(("delete", "get", "list", "watch"), "", "events"),),
    "role-aggregation": (rule(("escalate", "get", "list", "patch", "update", "watch"), "rbac.authorization.k8s.io",
                              "clusterroles"),),
    "resourcequota-controller": (rule(READ, "*", "*"), rule(("patch", "update"), "", "resourcequotas/status")),
    "serviceaccount-token-controller": (rule(("create", "delete", "get", "patch", "update"), "", "secrets"),
                                        rule(("get",), "", "serviceaccounts"),
                                        rule(("create",), "", "serviceaccounts/token")),
    # What Kubeflow adds.
    "pipeline-runs": (*_POD_OWNER, rule(("get",), "", "configmaps", "pods/log", "secrets"),
                      rule((*READ, *WRITE), "", "persistentvolumeclaims")),
    "pipeline-objects": (rule((*READ, *WRITE), "pipelines.kubeflow.org", "pipelines", "pipelineversions"),
                         rule(_CHANGE, "pipelines.kubeflow.org", "pipelineversions/status",
                              "pipelines/finalizers")),
    "serving": (*_EVENTS, rule((*READ, *WRITE), "", "configmaps", "services"),
                rule((*READ, *WRITE), "apps", "controllerrevisions", "deployments"),
                rule((*READ, *WRITE), "autoscaling", "horizontalpodautoscalers"),
                rule((*READ, *WRITE), "serving.kserve.io", "*"),
                # Whether a server has loaded one of several models, it alone knows.
                rule(("get",), "", "pods/proxy")),
    "storage": (rule(("get",), "", "secrets", "serviceaccounts"),),
    "tuning": (*_EVENTS, rule((*READ, *WRITE), "kubeflow.org", "*"),
               rule((*READ, *WRITE), "batch", "jobs"), rule((*READ, *WRITE), "jobset.x-k8s.io", "jobsets"),
               rule((*READ, *WRITE), "trainer.kubeflow.org", "trainjobs"),
               rule(("get",), "trainer.kubeflow.org", "clustertrainingruntimes", "trainingruntimes"),
               rule(READ, "", "configmaps", "pods"), rule(("get",), "", "pods/log", "pods/proxy"),
               rule(("create", "get"), "", "persistentvolumeclaims"), rule(("create",), "", "services")),
    "training": (*_EVENTS, _DELEGATION[0], _status("trainer.kubeflow.org", "trainjobs"),
                 rule(("create",), "trainer.kubeflow.org", "clustertrainingruntimes"),
                 rule(("create",), "", "namespaces"), rule(("create", "get", "patch"), "", "configmaps"),
                 rule(("create", "get"), "", "secrets"),
                 rule((*READ, *WRITE), "jobset.x-k8s.io", "jobsets"),
                 rule((*READ, *WRITE), "scheduling.x-k8s.io", "podgroups"),
                 # The jobs of kubeflow.org/v1.
                 *(_status("kubeflow.org", plural) for plural in _V1_JOBS),
                 rule(("delete",), "kubeflow.org", *_V1_JOBS),
                 rule(("create", "delete", "get"), "", "pods", "services"), rule(("get",), "", "pods/log"),
                 rule(("create", "delete", "get", "patch"), "autoscaling", "horizontalpodautoscalers"),
                 # An MPIJob's launcher may run commands in its workers: who grants that must have it.
                 rule(READ, "", "pods"), rule(("create", "get"), "", "pods/exec"),
                 rule(("create", "get", "patch"), "", "serviceaccounts"),
                 rule(("create", "get", "patch"), "rbac.authorization.k8s.io", "roles", "rolebindings")),
}

_GROUPS = ("kubeflow.org", "pipelines.kubeflow.org", "modelregistry.kubeflow.org", "serving.kserve.io",
           "trainer.kubeflow.org", "jobset.x-k8s.io", "scheduling.x-k8s.io")
"""The groups that people use by the ``kubeflow-`` roles: those of the domains, whose kinds are objects or records."""


def cluster_roles() -> list[Object]:
    """A role for each identity, and Kubeflow's roles for people."""
    p = policy
    return [
        *(p.cluster_role(f"lightship:{name}", rules) for name, rules in IDENTITIES.items()),
        p.cluster_role(ROUTES_ROLE, [
            {"nonResourceURLs": ["/apis/v1alpha1/*", "/apis/v1beta1/*", "/apis/v2beta1/*"], "verbs": ["*"]}]),
        p.aggregated_role("kubeflow-admin", (TO_KUBEFLOW_ADMIN, p.TO_ADMIN)),
        p.aggregated_role(EDITOR_ROLE, (TO_KUBEFLOW_EDIT, p.TO_EDIT), (TO_KUBEFLOW_ADMIN,)),
        p.aggregated_role("kubeflow-view", (TO_KUBEFLOW_VIEW, p.TO_VIEW), (TO_KUBEFLOW_EDIT,)),
        p.cluster_role("lightship:aggregate-to-kubeflow-edit",
                       [rule(("*",), group, "*") for group in _GROUPS],
                       (TO_KUBEFLOW_EDIT, p.TO_EDIT)),
        p.cluster_role("lightship:aggregate-to-kubeflow-view",
                       [rule((*READ, "readArtifact"), group, "*") for group in _GROUPS],
                       (TO_KUBEFLOW_VIEW, p.TO_VIEW)),
    ]


def cluster_role_bindings() -> list[Object]:
    return [*(policy.cluster_binding(f"lightship:{name}", account_subjects((name,))) for name in IDENTITIES),
            policy.cluster_binding(ROUTES_ROLE, policy.groups("system:authenticated"))]


def account_subjects(names: Iterable[str]) -> list[Object]:
    """Accounts of the platform as subjects."""
    return [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE} for name in names]
