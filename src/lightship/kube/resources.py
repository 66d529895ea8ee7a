"""What a kind is called, and the core kinds that the platform itself uses.

I am pure data. The API server serves a table of these, clients build paths from them, domains declare theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from lightship import errors


@dataclass(frozen=True, kw_only=True)
class Column:
    """A printer column of ``kubectl get``: a heading and a JSONPath such as ``.status.phase``."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ScalePaths:
    """Where a custom kind keeps what ``scale`` shows, as paths such as ``.spec.replicas``."""

    spec_replicas: str
    status_replicas: str
    selector: str = ""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One served version of one kind. ``group`` is empty for the core group; ``version`` is the served version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = field(default_factory=frozenset)
    """Of ``status``, ``scale``, ``log``, ``exec``, ``token`` and the like; ``status`` also separates status writes."""
    columns: tuple[Column, ...] = ()
    scale: ScalePaths | None = None
    """Of a custom kind with a scale subresource: where its numbers are."""
    lists_as: str = ""
    """The kind of its lists, where that is not the kind and ``List``."""

    @cached_property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def group_resource(self) -> str:
        """``deployments.apps``, or ``pods`` in the core group: the name in messages, RBAC and the store."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def list_kind(self) -> str:
        return self.lists_as or f"{self.kind}List"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of one object, or of its subresource.

        A namespaced resource with no namespace gives the path of all namespaces.
        """
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", _segment(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(_segment(name))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def _segment(name: str) -> str:
    """A name as one segment of a path: whoever may choose it chooses no other path."""
    if name in (".", ".."):
        raise errors.BadRequest(f"{name!r} is no object's name")
    return name if _PLAIN.issuperset(name) else quote(name, safe="")


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:@{}")
"""Braces among them: templates of paths, as OpenAPI has them, are made of names such as ``{namespace}``."""
_STATUS = frozenset({"status"})
_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")

PODS = Resource(group="", version="v1", kind="Pod", plural="pods", short_names=("po",), categories=("all",),
                subresources=frozenset({"status", "log", "exec", "attach", "portforward", "proxy", "binding",
                                       "eviction"}))
CONFIGMAPS = Resource(group="", version="v1", kind="ConfigMap", plural="configmaps", short_names=("cm",))
SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets")
NAMESPACES = Resource(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False,
                      short_names=("ns",), subresources=frozenset({"status", "finalize"}))
NODES = Resource(group="", version="v1", kind="Node", plural="nodes", namespaced=False, short_names=("no",),
                 subresources=frozenset({"status", "proxy"}))
SERVICES = Resource(group="", version="v1", kind="Service", plural="services", short_names=("svc",),
                    categories=("all",), subresources=frozenset({"status", "proxy"}))
SERVICE_ACCOUNTS = Resource(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts",
                            short_names=("sa",), subresources=frozenset({"token"}))
PERSISTENT_VOLUME_CLAIMS = Resource(group="", version="v1", kind="PersistentVolumeClaim",
                                    plural="persistentvolumeclaims", short_names=("pvc",), subresources=_STATUS)
EVENTS = Resource(group="", version="v1", kind="Event", plural="events", short_names=("ev",))
PERSISTENT_VOLUMES = Resource(group="", version="v1", kind="PersistentVolume", plural="persistentvolumes",
                              namespaced=False, short_names=("pv",), subresources=_STATUS)
ENDPOINTS = Resource(group="", version="v1", kind="Endpoints", plural="endpoints", short_names=("ep",))
STORAGE_CLASSES = Resource(group="storage.k8s.io", version="v1", kind="StorageClass", plural="storageclasses",
                           namespaced=False, short_names=("sc",))
POD_DISRUPTION_BUDGETS = Resource(group="policy", version="v1", kind="PodDisruptionBudget",
                                  plural="poddisruptionbudgets", short_names=("pdb",), subresources=_STATUS)
HORIZONTAL_POD_AUTOSCALERS = Resource(group="autoscaling", version="v2", kind="HorizontalPodAutoscaler",
                                      plural="horizontalpodautoscalers", short_names=("hpa",), categories=("all",),
                                      subresources=_STATUS)
PRIORITY_CLASSES = Resource(group="scheduling.k8s.io", version="v1", kind="PriorityClass", plural="priorityclasses",
                            namespaced=False, short_names=("pc",))
NODE_METRICS = Resource(group="metrics.k8s.io", version="v1beta1", kind="NodeMetrics", plural="nodes", namespaced=False)
POD_METRICS = Resource(group="metrics.k8s.io", version="v1beta1", kind="PodMetrics", plural="pods")
DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments", short_names=("deploy",),
                       categories=("all",), subresources=frozenset({"status", "scale"}))
REPLICA_SETS = Resource(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", short_names=("rs",),
                        categories=("all",), subresources=frozenset({"status", "scale"}))
REPLICATION_CONTROLLERS = Resource(group="", version="v1", kind="ReplicationController",
                                   plural="replicationcontrollers", short_names=("rc",), categories=("all",),
                                   subresources=frozenset({"status", "scale"}))
JOBS = Resource(group="batch", version="v1", kind="Job", plural="jobs", categories=("all",), subresources=_STATUS)
STATEFUL_SETS = Resource(group="apps", version="v1", kind="StatefulSet", plural="statefulsets", short_names=("sts",),
                         categories=("all",), subresources=frozenset({"status", "scale"}))
DAEMON_SETS = Resource(group="apps", version="v1", kind="DaemonSet", plural="daemonsets", short_names=("ds",),
                       categories=("all",), subresources=_STATUS)
CONTROLLER_REVISIONS = Resource(group="apps", version="v1", kind="ControllerRevision", plural="controllerrevisions")
CRON_JOBS = Resource(group="batch", version="v1", kind="CronJob", plural="cronjobs", short_names=("cj",),
                     categories=("all",), subresources=_STATUS)
JOB_SETS = Resource(group="jobset.x-k8s.io", version="v1alpha2", kind="JobSet", plural="jobsets",
                    subresources=_STATUS)
POD_GROUPS = Resource(group="scheduling.x-k8s.io", version="v1alpha1", kind="PodGroup", plural="podgroups",
                      short_names=("pg", "pgs"), subresources=_STATUS,
                      columns=(Column(name="Phase", path=".status.phase"),
                               Column(name="MinMember", path=".spec.minMember", type="integer"),
                               Column(name="Running", path=".status.running", type="integer"),
                               Column(name="Succeeded", path=".status.succeeded", type="integer"),
                               Column(name="Failed", path=".status.failed", type="integer"),
                               Column(name="Age", path=".metadata.creationTimestamp", type="date")))
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", version="v1", kind="EndpointSlice", plural="endpointslices")
LEASES = Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")
CUSTOM_RESOURCE_DEFINITIONS = Resource(group="apiextensions.k8s.io", version="v1", kind="CustomResourceDefinition",
                                       plural="customresourcedefinitions", namespaced=False,
                                       singular="customresourcedefinition", short_names=("crd", "crds"),
                                       categories=("api-extensions",), subresources=_STATUS,
                                       columns=(Column(name="Created At", path=".metadata.creationTimestamp"),))
SUBJECT_ACCESS_REVIEWS = Resource(group="authorization.k8s.io", version="v1", kind="SubjectAccessReview",
                                  plural="subjectaccessreviews", namespaced=False)
SELF_SUBJECT_ACCESS_REVIEWS = Resource(group="authorization.k8s.io", version="v1", kind="SelfSubjectAccessReview",
                                       plural="selfsubjectaccessreviews", namespaced=False)
TOKEN_REVIEWS = Resource(group="authentication.k8s.io", version="v1", kind="TokenReview", plural="tokenreviews",
                         namespaced=False)
_RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(group=_RBAC, version="v1", kind="Role", plural="roles")
CLUSTER_ROLES = Resource(group=_RBAC, version="v1", kind="ClusterRole", plural="clusterroles", namespaced=False)
ROLE_BINDINGS = Resource(group=_RBAC, version="v1", kind="RoleBinding", plural="rolebindings")
CLUSTER_ROLE_BINDINGS = Resource(group=_RBAC, version="v1", kind="ClusterRoleBinding", plural="clusterrolebindings",
                                 namespaced=False)
RESOURCE_QUOTAS = Resource(group="", version="v1", kind="ResourceQuota", plural="resourcequotas",
                           short_names=("quota",), subresources=_STATUS)
LIMIT_RANGES = Resource(group="", version="v1", kind="LimitRange", plural="limitranges", short_names=("limits",))
