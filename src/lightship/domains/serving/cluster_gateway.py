"""The gateway as a cluster that is not ours runs it: a Deployment, a Service and what its account may do. Pure.

``bootstrap`` creates these where Pods are containers. There the gateway is what scales to zero and splits traffic
without Knative or Istio; requests come to its Service by path or by host name, as they come to the embedded one.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from lightship.kube import resources
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

NAME = "lightship-gateway"
PORT = 8080
_FOLDER = "/etc/lightship"
_ACCOUNT_FILES = "/var/run/secrets/kubernetes.io/serviceaccount"
_LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "lightship"}


@dataclass(frozen=True, kw_only=True)
class ClusterGateway:
    """``image`` has this package in it; ``replicas`` share the traffic, each with counters and limits of its own."""

    image: str
    namespace: str = "kubeflow"
    replicas: int = 1

    @property
    def url(self) -> str:
        """Where Pods reach it."""
        return f"http://{NAME}.{self.namespace}.svc.cluster.local"


def render(gateway: ClusterGateway) -> list[tuple[Resource, Object]]:
    """Everything in the order in which it is to be made."""
    named = {"name": NAME, "namespace": gateway.namespace, "labels": _LABELS}
    cluster_wide = {"name": f"{NAME}.{gateway.namespace}", "labels": _LABELS}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": gateway.namespace}
    return [
        (resources.SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named}),
        (resources.CLUSTER_ROLES, {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": cluster_wide, "rules": [
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
                {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"],
                 "verbs": ["create"]}]}),
        (resources.CLUSTER_ROLE_BINDINGS, {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": cluster_wide,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": cluster_wide["name"]}, "subjects": [subject]}),
        (resources.CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named,
                                "data": {"kubeconfig": _kubeconfig()}}),
        (resources.DEPLOYMENTS, _deployment(gateway, named)),
        (resources.SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {
            "selector": {"app.kubernetes.io/name": NAME},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}]}}),
    ]


def _deployment(gateway: ClusterGateway, metadata: Object) -> Object:
    ready = {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 2}
    container = {
        "name": "gateway", "image": gateway.image,
        "command": ["python", "-m", "lightship.gateway"],
        "args": ["--kubeconfig", f"{_FOLDER}/kubeconfig", "--host", "0.0.0.0", "--port", str(PORT)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": ready,
        "livenessProbe": {"httpGet": {"path": "/-/healthz", "port": PORT}, "periodSeconds": 10},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True,
                            "runAsUser": 65532, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "kubeconfig", "mountPath": _FOLDER, "readOnly": True}],
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {
            "replicas": gateway.replicas, "selector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": _LABELS}, "spec": {
                "serviceAccountName": NAME, "terminationGracePeriodSeconds": 40, "containers": [container],
                "volumes": [{"name": "kubeconfig", "configMap": {"name": NAME}}]}}}}


def _kubeconfig() -> str:
    """The Pod's own account; a token file is read again when it changes."""
    return msgspec.json.encode({
        "apiVersion": "v1", "kind": "Config", "current-context": "cluster",
        "clusters": [{"name": "cluster", "cluster": {
            "server": "https://kubernetes.default.svc", "certificate-authority": f"{_ACCOUNT_FILES}/ca.crt"}}],
        "users": [{"name": "gateway", "user": {"tokenFile": f"{_ACCOUNT_FILES}/token"}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "gateway"}}]}).decode()
