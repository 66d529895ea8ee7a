"""The served kinds of storage and of the network beyond those in ``core``. Pure data; ``core`` calls me."""

from __future__ import annotations

from lightship.cluster.apiserver.kinds import cluster_columns as c
from lightship.cluster.apiserver.kinds import network, storage
from lightship.cluster.apiserver.registry import Served
from lightship.kube import resources as r
from lightship.kube.resources import Resource

INGRESSES = Resource(group="networking.k8s.io", version="v1", kind="Ingress", plural="ingresses", short_names=("ing",),
                     subresources=frozenset({"status"}))
INGRESS_CLASSES = Resource(group="networking.k8s.io", version="v1", kind="IngressClass", plural="ingressclasses",
                           namespaced=False)
NETWORK_POLICIES = Resource(group="networking.k8s.io", version="v1", kind="NetworkPolicy", plural="networkpolicies",
                            short_names=("netpol",))
RUNTIME_CLASSES = Resource(group="node.k8s.io", version="v1", kind="RuntimeClass", plural="runtimeclasses",
                           namespaced=False)


def served() -> tuple[Served, ...]:
    return (
        Served(resource=r.PERSISTENT_VOLUMES, printing=c.PERSISTENT_VOLUMES, counted=False,
               default=storage.default_volume, validate=storage.validate_volume, returns_deleted=True),
        Served(resource=r.STORAGE_CLASSES, printing=c.STORAGE_CLASSES, default=storage.default_class,
               validate=storage.validate_class, returns_deleted=True),
        Served(resource=r.ENDPOINTS, printing=c.ENDPOINTS, default=network.default_endpoints,
               validate=network.validate_endpoints,
               deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        Served(resource=INGRESSES, printing=c.INGRESSES, default=network.default_ingress,
               validate=network.validate_ingress,
               notice="nothing in this cluster serves Ingresses: use a Service, or kubectl port-forward"),
        Served(resource=INGRESS_CLASSES, printing=c.INGRESS_CLASSES),
        Served(resource=NETWORK_POLICIES, printing=c.NETWORK_POLICIES, default=network.default_policy,
               validate=network.validate_policy,
               notice="nothing in this cluster enforces NetworkPolicies: traffic between Pods stays open"),
        Served(resource=RUNTIME_CLASSES, printing=c.RUNTIME_CLASSES),
    )
