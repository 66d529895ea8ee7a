"""``metrics.k8s.io``: what nodes and Pods use, for ``kubectl top`` and the autoscaler. ``server`` calls me.

Nothing is stored: the source (the node, by way of the app) is asked at each request, and takes a new sample when its
last one is old.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from lightship import errors
from lightship.client.transport import Response
from lightship.client.usage import Measured, MetricsSource
from lightship.cluster.apiserver import reads, tables
from lightship.cluster.apiserver.backend import Call, encode
from lightship.cluster.apiserver.columns import headings
from lightship.cluster.apiserver.errors import MethodNotAllowed
from lightship.cluster.apiserver.registry import Printing, Served
from lightship.kube import objects, selectors, times
from lightship.kube.objects import Object
from lightship.kube.resources import NODE_METRICS, POD_METRICS

GROUP = NODE_METRICS.group
READ_ONLY = ("get", "list")


def served() -> tuple[Served, ...]:
    return (Served(resource=NODE_METRICS, printing=_PRINTING, verbs=READ_ONLY, label_name=False),
            Served(resource=POD_METRICS, printing=_PRINTING, verbs=READ_ONLY))


async def answer(call: Call, verb: str, source: MetricsSource | None, now: datetime) -> Response:
    """A GET of one object or of a list. Raises ``errors.Unavailable`` while there is no node."""
    if verb not in READ_ONLY:
        raise MethodNotAllowed(f"the server does not allow {verb} on this resource")
    if source is None:
        raise errors.Unavailable("the server is currently unable to handle the request: no node measures yet")
    resource = call.served.resource
    found = await (source.pods() if resource.namespaced else source.nodes())
    if call.target.name:
        key = (call.target.namespace, call.target.name)
        one = next((made for each in found if (made := _shown(call, each)) and tuple(objects.key(made)) == key), None)
        if one is None:
            raise errors.NotFound(f'{resource.group_resource} "{call.target.name[:253]}" not found')
        return _in_shape(call, [one], one, now)
    chosen = selectors.parse_labels(call.query.text("labelSelector"))
    fields = selectors.parse_fields(call.query.text("fieldSelector"))
    items = [_shown(call, each) for each in found
             if (not call.target.namespace or each.key.namespace == call.target.namespace)
             and chosen.matches(each.labels) and fields.matches(partial(_field, each))]
    whole = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": {}, "items": items}
    return _in_shape(call, items, whole, now)


def _in_shape(call: Call, items: list[Object], whole: Object, now: datetime) -> Response:
    if call.format.shape == "table":
        whole = tables.table(call.served, items, version=call.format.version, now=now,
                             include=tables.include_object(call.query.text("includeObject")))
    return Response(status=200, headers=reads.HEADERS, body=encode(whole))


def _field(each: Measured, field: str) -> str:
    return {"metadata.name": each.key.name, "metadata.namespace": each.key.namespace}.get(field, "")


def _shown(call: Call, each: Measured) -> Object:
    resource = call.served.resource
    metadata: dict[str, Any] = {"name": each.key.name, "creationTimestamp": times.rfc3339(each.at)}
    if each.key.namespace:
        metadata["namespace"] = each.key.namespace
    if each.labels:
        metadata["labels"] = dict(each.labels)
    shown: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata,
                     "timestamp": times.rfc3339(each.at), "window": f"{max(0.001, each.window_seconds):.3f}s"}
    usages = {name: {"cpu": f"{usage.nanocores}n", "memory": f"{usage.memory_bytes // 1024}Ki"}
              for name, usage in each.parts.items()}
    if resource.namespaced:
        shown["containers"] = [{"name": name, "usage": usage} for name, usage in usages.items()]
    else:
        shown["usage"] = usages.get("", {"cpu": "0", "memory": "0"})
    return shown


def _cells(obj: Object, now: datetime) -> list[Any]:
    usages = [obj["usage"]] if "usage" in obj else [container["usage"] for container in obj["containers"]]
    cpu = sum(int(usage["cpu"].rstrip("n")) for usage in usages)
    memory = sum(int(usage["memory"].removesuffix("Ki")) for usage in usages)
    return [objects.name(obj), f"{cpu}n", f"{memory}Ki", obj["window"], "0s"]


_PRINTING = Printing(columns=headings("Cpu", "Memory", "Window"), cells=_cells)
