"""Has garbage collection and the deletion of namespaces follow the kinds that come and go with their definitions.

``builtin`` builds me; I read CustomResourceDefinitions and tell ``graph``. Kinds that are served from the start stay.
"""

from __future__ import annotations

from typing import Any

from lightship.cluster.builtin import garbage
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.graph import Graph
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "custom-kinds"


def resource_of(definition: Object) -> Resource | None:
    """What a definition has the server serve, in its storage version; None until it is established."""
    spec = objects.spec(definition)
    versions: list[dict[str, Any]] = [version for version in spec.get("versions") or () if version.get("served")]
    if not versions or not conditions.is_true(definition, "Established"):
        return None
    chosen = next((version for version in versions if version.get("storage")), versions[0])
    names = spec.get("names") or {}
    return Resource(group=str(spec["group"]), version=str(chosen["name"]), kind=str(names["kind"]),
                    plural=str(names["plural"]), namespaced=spec.get("scope") == "Namespaced")


class CustomKinds:
    """The pass. The key is the definition's, whose name is that of the resource with its group."""

    def __init__(self, deps: Deps, graph: Graph) -> None:
        self._graph = graph
        self._manager = deps.manager
        self._definitions = deps.manager.informer(CUSTOM_RESOURCE_DEFINITIONS)
        self._fixed = frozenset(resource.group_resource for resource in graph.resources)

    async def reconcile(self, key: Key) -> Result:
        if key.name in self._fixed:
            return DONE
        known = self._graph.named(key.name)
        definition = self._definitions.get(key)
        wanted = resource_of(definition) if definition is not None else None
        if wanted is None and definition is not None:
            return DONE  # not established, or going: what there is of it is still looked after
        if wanted == known:
            return DONE
        if known is not None:
            self._graph.forget(known)
        if wanted is not None:
            self._graph.serve(wanted)
            for node in list(self._graph.naming(wanted)):
                self._manager.wake(garbage.NAME, garbage.key_of(node.resource, node.object))
        return DONE


def controller(deps: Deps, graph: Graph) -> Controller:
    return Controller(name=NAME, reconciler=CustomKinds(deps, graph), workers=1,
                      watches=(Watch(resource=CUSTOM_RESOURCE_DEFINITIONS),))
