"""What an InferenceService is made of: revisions, Deployments, Services and the gateway's route. Pure.

``components`` and ``decide`` call me.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lightship.domains.serving import names
from lightship.domains.serving.inference_service import containers, templates
from lightship.domains.serving.inference_service.rollout import Revision
from lightship.domains.serving.inference_service.types import Component
from lightship.domains.serving.site import Entry, Site
from lightship.kube import objects
from lightship.kube.objects import Object

_GRPC_NAMES = ("grpc", "h2c")


def make_revision(service: Object, component: str, revision: Revision) -> Object:
    """The ControllerRevision that keeps a template for as long as it may be wanted again."""
    metadata = make_metadata(service, component, revision.name)
    metadata["labels"] = metadata["labels"] | {names.REVISION_LABEL: revision.digest}
    return {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": revision.number,
            "data": {"template": revision.template}}


def make_deployment(service: Object, component: Component, deployment: str, template: Object,
                    replicas: int | None) -> Object:
    """A Deployment of a template; ``replicas`` None leaves their number as it is."""
    labels = objects.labels(template) | {names.APP_LABEL: names.app(deployment)}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    strategy = component.extension.deployment_strategy or rolling
    spec: Object = {
        "selector": {"matchLabels": {names.APP_LABEL: names.app(deployment)}},
        "strategy": strategy if strategy.get("type") != "Recreate" else {"type": "Recreate", "rollingUpdate": None},
        "template": template | {"metadata": template["metadata"] | {"labels": labels}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    metadata = make_metadata(service, component.kind, deployment)
    metadata["labels"] = metadata["labels"] | {names.REVISION_LABEL: templates.digest_of(template)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def make_service(service: Object, component: Component, deployment: str, template: Object) -> Object:
    """The Service: 80 to the port where requests enter, others as they are, as upstream makes it."""
    ports = containers.entrance(template["spec"]["containers"]).get("ports") or ()
    first = {"name": (ports[0].get("name") if ports else "") or "http", "port": names.SERVICE_PORT,
             "targetPort": containers.port_of(template["spec"]["containers"]), "protocol": "TCP"}
    made = [_protocol(first), *(
        _protocol({"name": port.get("name") or f"port-{port['containerPort']}", "port": port["containerPort"],
                   "targetPort": port["containerPort"], "protocol": port.get("protocol") or "TCP"})
        for port in ports[1:] if port.get("containerPort") not in (None, names.SERVICE_PORT))]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": make_metadata(service, component.kind, deployment),
        "spec": {"selector": {names.APP_LABEL: names.app(deployment)}, "ports": made},
    }


def make_route(service: Object, route: Mapping[str, Any], site: Site) -> Object:
    """The gateway's route (``gateway.route_objects`` has its shape); ``route`` brings backends, rules and the rest."""
    name, namespace = objects.name(service), objects.namespace(service)
    whole: Object = {
        "namespace": namespace,
        "name": name,
        "hosts": [names.host(name, namespace, site.domain)],
        "prefix": names.prefix(name, namespace),
        **route,
    }
    metadata = make_metadata(service, "", names.route(name))
    metadata["labels"] = {names.GATEWAY_ROUTE_LABEL: "true", names.INFERENCE_SERVICE_LABEL: name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {names.ROUTE_KEY: msgspec.json.encode(whole, order="deterministic").decode()}}


def make_logger(service: Object, component: Component) -> Object | None:
    """What the gateway is to log of a component's requests and answers."""
    logger = component.extension.logger
    if logger is None:
        return None
    annotations = objects.annotations(service)
    made: Object = {"mode": logger.mode or "all"}
    if logger.url:
        made["url"] = logger.url
    if logger.metadata_headers:
        made["metadataHeaders"] = logger.metadata_headers
    wanted = {key: annotations[key] for key in logger.metadata_annotations or () if key in annotations}
    if wanted:
        made["annotations"] = wanted
    return made


def make_metadata(service: Object, component: str, name: str) -> dict[str, Any]:
    labels = templates.labels(service, component)
    return {"name": name, "namespace": objects.namespace(service),
            "labels": {key: value for key, value in labels.items() if value},
            "ownerReferences": [objects.owner_reference(service)]}


def url(service: Object, site: Site) -> str:
    """Where the service is reached from outside."""
    if site.entry is not Entry.GATEWAY:
        return f"http://{names.host(objects.name(service), objects.namespace(service), site.domain)}"
    return site.gateway_url + names.prefix(objects.name(service), objects.namespace(service))


def exactly(existing: Any, wanted: Any) -> Any:
    """``wanted`` with a None for every field that only ``existing`` has, so that writing it takes those away.

    What the server fills in by itself goes too, and is filled in again; so this is for a template that changes as a
    whole, not for looking whether it has.
    """
    if isinstance(existing, Mapping) and isinstance(wanted, Mapping):
        return {**{key: None for key in existing if key not in wanted},
                **{key: exactly(existing.get(key), value) for key, value in wanted.items()}}
    if isinstance(existing, Sequence) and isinstance(wanted, list) and not isinstance(existing, str):
        named = {each["name"]: each for each in existing if isinstance(each, Mapping) and "name" in each}
        same = len(existing) == len(wanted)
        return [exactly(named.get(each.get("name")) if isinstance(each, Mapping) and "name" in each
                        else existing[place] if same else None, each) for place, each in enumerate(wanted)]
    return wanted


def _protocol(port: Object) -> Object:
    grpc = any(part in str(port.get("name", "")) for part in _GRPC_NAMES)
    return port | {"appProtocol": "kubernetes.io/h2c"} if grpc else port
