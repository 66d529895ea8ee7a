"""OpenAPI: the v3 index with one document a group-version, and a v2 stub. ``server`` calls me.

kubectl reads these to explain kinds and to learn that the server validates fields and knows dry run. Schemas are
built from the types in ``schemas`` where there are any and left open elsewhere. Strategic merge is not announced, so
that kubectl computes patches of built-in kinds by its own types.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from lightship.client.transport import Response
from lightship.cluster.apiserver import formats, schemas
from lightship.cluster.apiserver.registry import GroupVersion, Registry, Served
from lightship.cluster.apiserver.statuses import JSON

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_OPEN = {"x-kubernetes-preserve-unknown-fields": True}
_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class OpenApi:
    """Answers ``/openapi/...``; each document is rendered when it is first asked for."""

    def __init__(self, registry: Registry, version: str) -> None:
        self._registry, self._version = registry, version
        self._rendered: dict[str, bytes] = {}

    def answer(self, path: str, accept: str) -> Response | None:
        """The answer for a path without trailing slash; None where there is no such document."""
        if path == "/openapi/v2":
            return self._v2(accept)
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
        names = ",".join(f"{s.resource.api_version}/{s.resource.plural}" for s in self._registry.served)
        mark = hashlib.sha256(f"{self._version} {names}".encode()).hexdigest()[:32].upper()
        return {"paths": {gv.prefix: {"serverRelativeURL": f"/openapi/v3/{gv.prefix}?hash={mark}"}
                          for gv in self._registry.group_versions}}

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


class _Types:
    """Collects the schemas of one document."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {_META: {
            "type": "object", "description": "ObjectMeta is metadata that all persisted resources must have.",
            "properties": self._properties(schemas.ObjectMeta)}}

    def add_kind(self, served: Served) -> None:
        resource = served.resource
        properties = self._properties(served.schema or schemas.Loose)
        strings = {name: {"type": "string"} for name in ("apiVersion", "kind")}
        self.schemas[schema_name(served)] = {
            "type": "object", "description": f"{resource.kind} in {resource.api_version}.",
            "properties": strings | {"metadata": {"allOf": [{"$ref": _REF + _META}], "default": {}}} | properties,
            "x-kubernetes-group-version-kind": [
                {"group": resource.group, "version": resource.version, "kind": resource.kind}],
        } | _OPEN

    def _properties(self, type: type) -> dict[str, Any]:
        fields = msgspec.structs.fields(type)
        return {field.name: self._schema(msgspec.inspect.type_info(field.type)) for field in fields}

    def _schema(self, info: msgspec.inspect.Type) -> dict[str, Any]:
        match info:
            case msgspec.inspect.UnionType(types=types):
                some = [t for t in types if not isinstance(t, msgspec.inspect.NoneType)]
                return self._schema(some[0]) if len(some) == 1 else {"x-kubernetes-int-or-string": True}
            case msgspec.inspect.StructType(cls=cls):
                return {"type": "object", "properties": self._properties(cls)} | _OPEN
            case msgspec.inspect.ListType(item_type=item):
                return {"type": "array", "items": self._schema(item)}
            case msgspec.inspect.DictType(value_type=value):
                inner = self._schema(value)
                return {"type": "object", "additionalProperties": inner} if inner != _OPEN else {
                    "type": "object"} | _OPEN
            case msgspec.inspect.IntType():
                return {"type": "integer", "format": "int64"}
            case msgspec.inspect.BoolType():
                return {"type": "boolean"}
            case msgspec.inspect.StrType():
                return {"type": "string"}
        return dict(_OPEN)
