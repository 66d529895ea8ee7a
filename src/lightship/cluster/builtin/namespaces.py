"""Furnishes every namespace with its service accounts and the certificate by which Pods know the API server.

``builtin`` builds me; I call ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship.client.client import Selection
from lightship.cluster.builtin import names
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, NAMESPACES, ROLE_BINDINGS, SERVICE_ACCOUNTS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "namespace-furnisher"
_ROOT_CA = f"metadata.name={names.ROOT_CA_CONFIG_MAP}"
"""All other ConfigMaps are none of ours, and may be many and large."""


def furniture(namespace: str, ca_pem: str) -> list[Object]:
    """What belongs into a namespace."""
    accounts: list[Object] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        for name in names.SERVICE_ACCOUNT_NAMES]
    if not namespace.startswith("kube-") and namespace != names.PLATFORM_NAMESPACE:
        accounts.append(_editor(namespace))
    if not ca_pem:
        return accounts
    return [*accounts, {"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": names.ROOT_CA_CONFIG_MAP, "namespace": namespace},
                        "data": {"ca.crt": ca_pem}}]


def _editor(namespace: str) -> Object:
    """Lets Kubeflow's account of the namespace work in it, as upstream's profiles do."""
    group = ROLE_BINDINGS.group
    return {"apiVersion": ROLE_BINDINGS.api_version, "kind": ROLE_BINDINGS.kind,
            "metadata": {"name": names.EDITOR_ACCOUNT, "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": names.EDITOR_ROLE},
            "subjects": [{"kind": "ServiceAccount", "name": names.EDITOR_ACCOUNT, "namespace": namespace}]}


class Namespaces:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._namespaces = deps.manager.informer(NAMESPACES)
        self._kept = {"ServiceAccount": (SERVICE_ACCOUNTS, deps.manager.informer(SERVICE_ACCOUNTS)),
                      "RoleBinding": (ROLE_BINDINGS, deps.manager.informer(ROLE_BINDINGS)),
                      "ConfigMap": (CONFIGMAPS, deps.manager.informer(CONFIGMAPS, Selection(fields=_ROOT_CA)))}
        self._client = deps.manager.client_for(NAME)
        self._ca_pem = deps.ca_pem

    async def reconcile(self, key: Key) -> Result:
        namespace = self._namespaces.get(key)
        if namespace is None or objects.deleting(namespace):
            return DONE
        for wanted in furniture(key.name, self._ca_pem):
            resource, informer = self._kept[wanted["kind"]]
            there = informer.get(objects.key(wanted))
            if there is not None and objects.deleting(there):
                continue
            informer.observe(await apply.ensure(self._client, resource, wanted, there))
        return DONE


def _furnished(obj: Object) -> Iterable[Key]:
    """The namespace of a piece of furniture that somebody changed or took away."""
    if objects.name(obj) in (*names.SERVICE_ACCOUNT_NAMES, names.ROOT_CA_CONFIG_MAP):
        return (Key("", objects.namespace(obj)),)
    return ()


def controller(deps: Deps) -> Controller:
    return Controller(
        name=NAME, reconciler=Namespaces(deps), workers=2,
        watches=(Watch(resource=NAMESPACES), Watch(resource=SERVICE_ACCOUNTS, keys=_furnished),
                 Watch(resource=CONFIGMAPS, keys=_furnished, field_selector=_ROOT_CA),
                 Watch(resource=ROLE_BINDINGS, keys=_furnished)),
    )
