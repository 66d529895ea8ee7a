"""OpenAPI: the v3 index with one document a group-version, and a v2 stub. ``server`` calls me.

kubectl reads these to explain kinds and to learn that the server validates fields and knows dry run. Schemas of core
kinds are built from ``kubernetes_types``; those of custom kinds are left open. Strategic merge is not announced, so
that kubectl computes patches of built-in kinds by its own types.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from lightship.client.transport import Response
from lightship.cluster.apiserver import formats, kubernetes_types
from lightship.cluster.apiserver.kubernetes_types import Field
from lightship.cluster.apiserver.registry import GroupVersion, Registry, Served
from lightship.cluster.apiserver.statuses import JSON

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_OPEN = {"x-kubernetes-preserve-unknown-fields": True}
_BASIC: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "bool": {"type": "boolean"}, "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "double"}, "bytes": {"type": "string", "format": "byte"},
    "quantity": {"type": "string"}, "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"}, "duration": {"type": "string"},
    "intorstring": {"type": "string", "format": "int-or-string"},
    "strings": {"type": "array", "items": {"type": "string"}}, "raw": {"type": "object"}, "fields": {"type": "object"},
}
_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class OpenApi:
    """Answers ``/openapi/...``; each document is rendered when it is first asked for."""

    def __init__(self, registry: Registry, version: str) -> None:
        self._registry, self._version = registry, version
        self._rendered: dict[str, bytes] = {}
        self._marks: dict[str, tuple[tuple[Served, ...], str]] = {}
        self._generation = registry.generation

    def answer(self, path: str, accept: str) -> Response | None:
        """The answer for a path without trailing slash; None where there is no such document."""
        if path == "/openapi/v2":
            return self._v2(accept)
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._rendered.clear()
        if path == "/openapi/v3":
            return self._json(path, self._index())
        for gv in self._registry.group_versions:
            if path == f"/openapi/v3/{gv.prefix}":
                if path not in self._rendered:
                    self._rendered[path] = msgspec.json.encode(self._document(gv))
                return Response(status=200, headers={"content-type": JSON}, body=self._rendered[path])
        return None

    def _json(self, path: str, data: Any) -> Response:
        return Response(status=200, headers={"content-type": JSON}, body=msgspec.json.encode(data))

    def _index(self) -> dict[str, Any]:
        return {"paths": {gv.prefix: {"serverRelativeURL": f"/openapi/v3/{gv.prefix}?hash={self._mark(gv)}"}
                          for gv in self._registry.group_versions}}

    def _mark(self, gv: GroupVersion) -> str:
        """What tells one state of a document from any other, also of another start of the server.

        A client keeps documents by it: a definition that comes must not make it fetch those of other groups again.
        """
        known = self._marks.get(gv.prefix)
        if known is None or known[0] != gv.served:
            digest = hashlib.sha256(self._version.encode())
            for served in gv.served:
                resource = served.resource
                digest.update(f"{resource.plural} {resource.kind} {sorted(resource.subresources)}".encode())
                if served.openapi is not None:
                    digest.update(msgspec.json.encode(served.openapi))
            known = self._marks[gv.prefix] = (gv.served, digest.hexdigest()[:32].upper())
        return known[1]

    def _v2(self, accept: str) -> Response:
        wants_json = accept and any(media in (JSON, "*/*") for media, _ in formats.clauses(accept))
        if wants_json and "protobuf" not in accept:
            return self._json("", {"swagger": "2.0", "info": {"title": "Lightship", "version": self._version},
                                   "paths": {}, "definitions": {}})
        info = _message(1, b"Lightship") + _message(2, self._version.encode())
        body = _message(1, b"2.0") + _message(2, info) + _message(8, b"") + _message(9, b"")
        return Response(status=200, headers={"content-type": V2_PROTOBUF}, body=body)

    def _document(self, gv: GroupVersion) -> dict[str, Any]:
        types = _Types()
        paths: dict[str, Any] = {}
        for served in gv.served:
            types.add_kind(served)
            paths |= _paths(served)
        return {"openapi": "3.0.0", "info": {"title": "Lightship", "version": self._version}, "paths": paths,
                "components": {"schemas": types.schemas}}


def _message(field: int, content: bytes) -> bytes:
    """A length-delimited protobuf field of fewer than 128 bytes."""
    assert len(content) < 128
    return bytes((field << 3 | 2, len(content))) + content


def schema_name(served: Served) -> str:
    """``io.k8s.api.core.v1.Pod``; for a custom resource its reversed group."""
    resource = served.resource
    if served.custom:
        return f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"
    group = resource.group.removesuffix(".k8s.io").partition(".")[0] or "core"
    return f"io.k8s.api.{group}.{resource.version}.{resource.kind}"


_QUERY = tuple({"name": name, "in": "query", "schema": {"type": kind}} for name, kind in (
    ("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")))


def _paths(served: Served) -> dict[str, Any]:
    resource = served.resource
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    answer = {"200": {"description": "OK", "content": {JSON: {"schema": {"$ref": _REF + schema_name(served)}}}}}
    body = {"content": {"*/*": {"schema": {"$ref": _REF + schema_name(served)}}}}

    def operation(action: str, *types: str) -> dict[str, Any]:
        content = {"content": {kind: {"schema": {"type": "object"}} for kind in types}} if types else body
        return {"x-kubernetes-group-version-kind": gvk, "x-kubernetes-action": action, "parameters": list(_QUERY),
                "responses": answer} | ({} if action == "get" else {"requestBody": content})

    root = resource.path("{namespace}" if resource.namespaced else None)
    paths: dict[str, Any] = {root: {"post": operation("post")}}
    if served.persistent:
        paths[f"{root}/{{name}}"] = {
            "get": operation("get"), "put": operation("put"), "delete": operation("delete"),
            "patch": operation("patch", "application/json-patch+json", "application/merge-patch+json",
                               "application/apply-patch+yaml"),
        }
    return paths


def _custom_schema(served: Served) -> dict[str, Any]:
    """A custom version's own schema, with what every kind has."""
    resource, given = served.resource, dict(served.openapi or {})
    head = {label: {"type": "string"} for label in ("apiVersion", "kind")}
    meta = {"metadata": {"allOf": [{"$ref": _REF + _META}], "default": {}}}
    return {"description": f"{resource.kind} in {resource.api_version}."} | given | {
        "properties": head | (given.get("properties") or {}) | meta,
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "version": resource.version, "kind": resource.kind}]}


class _Types:
    """Collects the schemas of one document."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self._reference("meta.v1.ObjectMeta")

    def add_kind(self, served: Served) -> None:
        resource = served.resource
        name = kubernetes_types.name_of(resource.api_version, resource.kind)
        required: dict[str, Any] = {}
        if name:
            whole = self._object(name)
            properties, required = whole["properties"], {k: v for k, v in whole.items() if k == "required"}
        elif served.openapi is not None:
            self.schemas[schema_name(served)] = _custom_schema(served)
            return
        else:
            loose = {"type": "object"} | _OPEN
            properties = {"metadata": {"allOf": [{"$ref": _REF + _META}], "default": {}}, "spec": loose,
                          "status": loose}
        strings = {label: {"type": "string"} for label in ("apiVersion", "kind")}
        self.schemas[schema_name(served)] = {
            "type": "object", "description": f"{resource.kind} in {resource.api_version}.",
            "properties": strings | properties, **required,
            "x-kubernetes-group-version-kind": [
                {"group": resource.group, "version": resource.version, "kind": resource.kind}],
        } | (_OPEN if served.custom and not name else {})

    def _object(self, name: str) -> dict[str, Any]:
        """The schema of a type less what names it."""
        known = kubernetes_types.json_fields(name)
        required = sorted(label for label, field in known.items() if field.required)
        return {"type": "object", "properties": {label: self._schema(field) for label, field in known.items()}} | (
            {"required": required} if required else {})

    def _schema(self, field: Field) -> dict[str, Any]:
        inner = dict(_BASIC.get(field.type) or {}) or self._reference(field.type)
        if field.map:
            atomic = {"x-kubernetes-map-type": "atomic"} if field.atomic else {}
            return {"type": "object", "additionalProperties": inner} | atomic
        strategy, _, key = field.merge.partition(":")
        merging = {"x-kubernetes-patch-strategy": strategy} if strategy else {}
        if key:
            merging["x-kubernetes-patch-merge-key"] = key
        if field.repeated:
            kind, _, keys = field.list.partition(":")
            kept: dict[str, Any] = {"x-kubernetes-list-type": kind} if kind else {}
            if keys:
                kept["x-kubernetes-list-map-keys"] = keys.split(",")
            return {"type": "array", "items": inner} | merging | kept
        if "$ref" in inner:
            return {"allOf": [inner]} | ({} if field.pointer else {"default": {}}) | merging
        return inner | ({"default": field.default} if field.default else {}) | merging

    def _reference(self, name: str) -> dict[str, Any]:
        if "." not in name:
            return dict(_OPEN)
        package, version, kind = name.split(".")
        known = f"io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}" if package == "meta" else (
            f"io.k8s.api.{package}.{version}.{kind}")
        if known not in self.schemas:
            self.schemas[known] = {}  # Before its fields: a type may hold itself.
            self.schemas[known] |= {"description": f"{kind} of {package}/{version}."} | self._object(name)
        return {"$ref": _REF + known}
