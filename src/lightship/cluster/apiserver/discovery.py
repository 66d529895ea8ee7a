"""Discovery: which groups, versions and kinds there are; aggregated (v2, v2beta1) and legacy. ``server`` calls me.

Answers are rendered once for each state of the registry.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lightship.client.transport import Response
from lightship.cluster.apiserver import formats
from lightship.cluster.apiserver.registry import GroupVersion, Registry, Served
from lightship.cluster.apiserver.statuses import JSON

_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "log": ("", "v1", "Pod", ("get",)), "exec": ("", "v1", "PodExecOptions", ("create", "get")),
    "attach": ("", "v1", "PodAttachOptions", ("create", "get")),
    "portforward": ("", "v1", "PodPortForwardOptions", ("create", "get")),
    "binding": ("", "v1", "Binding", ("create",)), "eviction": ("policy", "v1", "Eviction", ("create",)),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
}
"""Subresource to the group, version and kind that it answers with, and its verbs."""


def _subresource(served: Served, name: str) -> tuple[str, str, str, tuple[str, ...]]:
    resource = served.resource
    if name == "proxy":
        return "", "v1", f"{resource.kind}ProxyOptions", ("create", "delete", "get", "patch", "update")
    verbs = ("update",) if name == "finalize" else ("get", "patch", "update")
    return _SUBRESOURCES.get(name, (resource.group, resource.version, resource.kind, verbs))


def _singular(served: Served) -> str:
    return served.resource.singular or served.resource.kind.lower()


class Discovery:
    """Answers ``/api``, ``/apis`` and what lies right below them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._rendered: dict[tuple[str, str], Response] = {}
        self._generation = registry.generation

    def answer(self, path: str, accept: str) -> Response | None:
        """The answer for a path without trailing slash; None for a path that is not discovery's."""
        parts = path.strip("/").split("/")
        if parts[0] not in ("api", "apis") or len(parts) > 3:
            return None
        version = aggregated_version(accept) if len(parts) == 1 else ""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._rendered.clear()
        known = self._rendered.get((path, version))
        if known is None:
            data = self._aggregated(parts[0], version) if version else self._legacy(parts)
            if data is None:
                return None
            content_type = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" if version else JSON
            known = Response(status=200, headers={"content-type": content_type, "vary": "Accept"},
                             body=msgspec.json.encode(data))
            self._rendered[path, version] = known
        return known

    def _legacy(self, parts: list[str]) -> dict[str, Any] | None:
        match parts:
            case ["api"]:
                versions = [gv.version for gv in self._registry.versions("")]
                return {"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": []}
            case ["apis"]:
                return {"kind": "APIGroupList", "apiVersion": "v1",
                        "groups": [self._group(group) for group in self._registry.groups()]}
            case ["api", version]:
                return self._resources("", version)
            case ["apis", group]:
                return None if group not in self._registry.groups() else (
                    {"kind": "APIGroup", "apiVersion": "v1"} | self._group(group))
            case ["apis", group, version]:
                return self._resources(group, version)
        return None

    def _group(self, group: str) -> dict[str, Any]:
        versions = [{"groupVersion": gv.api_version, "version": gv.version} for gv in self._registry.versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[-1]}

    def _resources(self, group: str, version: str) -> dict[str, Any] | None:
        found = [gv for gv in self._registry.versions(group) if gv.version == version]
        if not found:
            return None
        resources = [entry for served in _by_name(found[0]) for entry in self._legacy_entries(served)]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": found[0].api_version,
                "resources": resources}

    def _legacy_entries(self, served: Served) -> list[dict[str, Any]]:
        resource = served.resource
        entries: list[dict[str, Any]] = [{
            "name": resource.plural, "singularName": _singular(served), "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": list(served.verbs), "shortNames": list(resource.short_names),
            "categories": list(resource.categories),
        }]
        for name in sorted(resource.subresources):
            group, version, kind, verbs = _subresource(served, name)
            entries.append({"name": f"{resource.plural}/{name}", "singularName": "", "kind": kind,
                            "namespaced": resource.namespaced, "verbs": list(verbs), "group": group,
                            "version": version})
        return entries

    def _aggregated(self, root: str, version: str) -> dict[str, Any]:
        groups = [""] if root == "api" else self._registry.groups()
        items = [{"metadata": {"name": group} if group else {},
                  "versions": [self._version(gv) for gv in reversed(self._registry.versions(group))]}
                 for group in groups]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {},
                "items": items}

    def _version(self, gv: GroupVersion) -> dict[str, Any]:
        return {"version": gv.version, "freshness": "Current",
                "resources": [self._aggregated_entry(served) for served in _by_name(gv)]}

    def _aggregated_entry(self, served: Served) -> dict[str, Any]:
        resource = served.resource
        subresources = []
        for name in sorted(resource.subresources):
            group, version, kind, verbs = _subresource(served, name)
            subresources.append({"subresource": name, "verbs": list(verbs),
                                 "responseKind": {"group": group, "version": version, "kind": kind}})
        return {"resource": resource.plural, "singularResource": _singular(served),
                "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
                "scope": "Namespaced" if resource.namespaced else "Cluster", "verbs": list(served.verbs),
                "shortNames": list(resource.short_names), "categories": list(resource.categories),
                "subresources": subresources}

    @property
    def root(self) -> Response:
        """The answer for ``/``."""
        paths = ["/api", *(f"/{gv.prefix}" for gv in self._registry.group_versions if not gv.group), "/apis"]
        for group in self._registry.groups():
            paths += [f"/apis/{group}", *(f"/{gv.prefix}" for gv in self._registry.versions(group))]
        paths += ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
        return Response(status=200, headers={"content-type": JSON}, body=msgspec.json.encode({"paths": paths}))


def _by_name(gv: GroupVersion) -> list[Served]:
    """In the order in which ``kubectl get all`` prints kinds."""
    return sorted(gv.served, key=lambda served: served.resource.plural)


def aggregated_version(accept: str) -> str:
    """``v2`` or ``v2beta1`` where the client wants aggregated discovery, else empty."""
    for media, parameters in formats.clauses(accept) if accept else ():
        if media in ("application/json", "*/*"):
            if "as" not in parameters:
                return ""
            if (parameters["as"], parameters.get("g")) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io") and (
                    parameters.get("v") in ("v2", "v2beta1")):
                return parameters["v"]
    return ""
