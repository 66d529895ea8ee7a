"""What ``kubectl get`` prints of storage and of the network, as upstream's printers have it.

Pure; ``kinds.cluster_table`` puts these into the registry.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lightship.cluster.apiserver.columns import NAME, access_modes, age, dicts, headings
from lightship.cluster.apiserver.kinds.workload_columns import selector_text
from lightship.cluster.apiserver.registry import Printing
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import Column

SHOWN_ITEMS = 3
SHOWN_ADDRESS_CHARACTERS = 16
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class",
                  "ingressclass.kubernetes.io/is-default-class")


def _class_name(obj: Object) -> str:
    annotations = objects.annotations(obj)
    default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return objects.name(obj) + (" (default)" if default else "")


def _volume(obj: Object, now: datetime) -> list[Any]:
    spec, status = objects.spec(obj), objects.status(obj)
    claim = spec.get("claimRef") or {}
    return [objects.name(obj), (spec.get("capacity") or {}).get("storage", "0"), access_modes(spec.get("accessModes")),
            spec.get("persistentVolumeReclaimPolicy", ""),
            "Terminating" if objects.deleting(obj) else status.get("phase", ""),
            f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
            spec.get("storageClassName") or "", spec.get("volumeAttributesClassName") or "<unset>",
            status.get("reason") or "", age(obj, now), spec.get("volumeMode") or "<unset>"]


def _storage_class(obj: Object, now: datetime) -> list[Any]:
    return [_class_name(obj), obj.get("provisioner", ""), obj.get("reclaimPolicy") or "Delete",
            obj.get("volumeBindingMode") or "Immediate", bool(obj.get("allowVolumeExpansion")), age(obj, now)]


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in dicts(obj.get("subsets")):
        addresses = [str(address.get("ip")) for address in dicts(subset.get("addresses"))]
        ports = dicts(subset.get("ports"))
        found += [f"[{ip}]:{p.get('port')}" if ":" in ip else f"{ip}:{p.get('port')}"
                  for p in ports for ip in addresses] if ports else addresses
    return [objects.name(obj), _some(found, "<none>"), age(obj, now)]


def _some(items: list[str], empty: str) -> str:
    text = ",".join(items[:SHOWN_ITEMS])
    if len(items) > SHOWN_ITEMS:
        text += f" + {len(items) - SHOWN_ITEMS} more..."
    return text or empty


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(port.get("port") or port.get("name") or "*") for port in dicts(obj.get("ports"))]
    addresses = [str(a) for endpoint in dicts(obj.get("endpoints")) for a in endpoint.get("addresses") or []]
    return [objects.name(obj), obj.get("addressType", ""), _some(ports, "<unset>"), _some(addresses, "<unset>"),
            age(obj, now)]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = objects.spec(obj)
    rules = dicts(spec.get("rules"))
    hosts = [str(rule["host"]) for rule in rules if rule.get("host")]
    shown = ",".join(hosts[:SHOWN_ITEMS]) or "*"
    if len(hosts) >= SHOWN_ITEMS and len(rules) > SHOWN_ITEMS:
        shown += f" + {len(rules) - SHOWN_ITEMS} more..."
    balancer = objects.status(obj).get("loadBalancer") or {}
    address = ",".join(sorted({str(i.get("ip") or i.get("hostname") or "") for i in dicts(balancer.get("ingress"))}))
    if len(address) > SHOWN_ADDRESS_CHARACTERS:
        address = address[:SHOWN_ADDRESS_CHARACTERS - 3] + "..."
    return [objects.name(obj), spec.get("ingressClassName") or "<none>", shown, address,
            "80, 443" if spec.get("tls") else "80", age(obj, now)]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = objects.spec(obj)
    parameters, text = spec.get("parameters"), "<none>"
    if parameters:
        group = parameters.get("apiGroup")
        text = f"{parameters.get('kind')}{f'.{group}' if group else ''}/{parameters.get('name')}"
    return [_class_name(obj), spec.get("controller", ""), text, age(obj, now)]


def _network_policy(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), selector_text(objects.spec(obj).get("podSelector")), age(obj, now)]


def _runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [objects.name(obj), obj.get("handler", ""), age(obj, now)]


PERSISTENT_VOLUMES = Printing(
    columns=headings("Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass",
                     "VolumeAttributesClass", "Reason", "VolumeMode+"), cells=_volume)
STORAGE_CLASSES = Printing(
    columns=(NAME, *(Column(name=n, path="") for n in ("Provisioner", "ReclaimPolicy", "VolumeBindingMode")),
             Column(name="AllowVolumeExpansion", path="", type="boolean"), headings()[-1]), cells=_storage_class)
ENDPOINTS = Printing(columns=headings("Endpoints"), cells=_endpoints)
ENDPOINT_SLICES = Printing(columns=headings("AddressType", "Ports", "Endpoints"), cells=_endpoint_slice)
INGRESSES = Printing(columns=headings("Class", "Hosts", "Address", "Ports"), cells=_ingress)
INGRESS_CLASSES = Printing(columns=headings("Controller", "Parameters"), cells=_ingress_class)
NETWORK_POLICIES = Printing(columns=headings("Pod-Selector"), cells=_network_policy)
RUNTIME_CLASSES = Printing(columns=headings("Handler"), cells=_runtime_class)
