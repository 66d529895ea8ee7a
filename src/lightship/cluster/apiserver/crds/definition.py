"""A CustomResourceDefinition itself: its types, its defaults, and what is wrong with it.

Pure; ``registrar`` calls me as the admission of the kind. Schemas are judged by ``structural``, rules by ``rules``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver.crds import structural
from lightship.cluster.apiserver.crds.places import shown
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import jsonpath, objects
from lightship.kube.objects import Object

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that holds a definition until the last object of its kind is gone."""
APPROVED = "api-approved.kubernetes.io"
LIMIT_SELECTABLE_FIELDS = 8
LIMIT_VERSIONS = 100

_LABEL = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)
_LABEL_RULE = ("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
               "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
               "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("binary", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")


class Names(msgspec.Struct):
    plural: str | None = None
    singular: str | None = None
    kind: str | None = None
    listKind: str | None = None
    shortNames: list[str] | None = None
    categories: list[str] | None = None


class PrinterColumn(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    jsonPath: str | None = None
    priority: int | None = None
    format: str | None = None
    description: str | None = None


class Scale(msgspec.Struct):
    specReplicasPath: str | None = None
    statusReplicasPath: str | None = None
    labelSelectorPath: str | None = None


class Subresources(msgspec.Struct):
    status: dict[str, Any] | None = None
    scale: Scale | None = None


class Validation(msgspec.Struct):
    openAPIV3Schema: dict[str, Any] | None = None


class SelectableField(msgspec.Struct):
    jsonPath: str | None = None


class Version(msgspec.Struct):
    name: str | None = None
    served: bool = False
    storage: bool = False
    deprecated: bool | None = None
    deprecationWarning: str | None = None
    schema: Validation | None = None
    subresources: Subresources | None = None
    additionalPrinterColumns: list[PrinterColumn] | None = None
    selectableFields: list[SelectableField] | None = None


class Conversion(msgspec.Struct):
    strategy: str | None = None
    webhook: dict[str, Any] | None = None


class Spec(msgspec.Struct):
    group: str | None = None
    scope: str | None = None
    names: Names | None = None
    versions: list[Version] | None = None
    conversion: Conversion | None = None
    preserveUnknownFields: bool | None = None


class Definition(msgspec.Struct):
    """The data of the kind; ``shapes`` checks bodies against me."""

    spec: Spec | None = None
    status: dict[str, Any] | None = None


def default(obj: Object) -> Object:
    """The definition with its singular, list kind and conversion said."""
    spec = objects.spec(obj)
    names = {key: value for key, value in (spec.get("names") or {}).items() if value not in (None, [])}
    kind = names.get("kind") or ""
    filled = {"listKind": f"{kind}List", "singular": kind.lower()} if kind else {}
    conversion = {"strategy": "None"} | {k: v for k, v in (spec.get("conversion") or {}).items() if v is not None}
    rest = {key: value for key, value in spec.items() if key != "preserveUnknownFields" or value}
    return obj | {"spec": rest | {"names": filled | names, "conversion": conversion}}


def changes(obj: Object, old: Object) -> list[FieldFault]:
    """What an update of a definition may not change."""
    spec = objects.spec(obj)
    return list(_unchanged(spec, objects.spec(old), obj, spec.get("versions") or []))


def validate(obj: Object) -> list[FieldFault]:
    """All faults of a definition."""
    spec = objects.spec(obj)
    faults = [*_head(obj, spec), *_names(spec.get("names") or {}), *_conversion(spec.get("conversion") or {})]
    versions = spec.get("versions") or []
    if not versions:
        return [*faults, FieldFault("spec.versions", "Required value: must have exactly one version marked as storage "
                                                     "version")]
    if len(versions) > LIMIT_VERSIONS:
        return [*faults, FieldFault("spec.versions", f"Too many: {len(versions)}: must have at most {LIMIT_VERSIONS} "
                                                     "items")]
    if sum(1 for version in versions if version.get("storage")) != 1:
        faults.append(FieldFault("spec.versions", f"Invalid value: {shown([v.get('name') for v in versions])}: must "
                                                  "have exactly one version marked as storage version"))
    seen: set[Any] = set()
    for number, version in enumerate(versions):
        place = f"spec.versions[{number}]"
        if version.get("name") in seen:
            faults.append(FieldFault(f"{place}.name", f"Duplicate value: {shown(version['name'])}"))
        seen.add(version.get("name"))
        faults += _version(version, place)
    return faults


def _head(obj: Object, spec: Object) -> Iterator[FieldFault]:
    group, plural = spec.get("group") or "", (spec.get("names") or {}).get("plural") or ""
    wanted = f"{plural}.{group}"
    if objects.name(obj) != wanted:
        yield FieldFault("metadata.name", f"Invalid value: {shown(objects.name(obj))}: must be "
                                          'spec.names.plural+"."+spec.group')
    if not group:
        yield FieldFault("spec.group", "Required value")
    elif len(group) > 253 or not _SUBDOMAIN.match(group):
        yield FieldFault("spec.group", f"Invalid value: {shown(group)}: a lowercase RFC 1123 subdomain must consist of "
                                       "lower case alphanumeric characters, '-' or '.'")
    elif "." not in group:
        yield FieldFault("spec.group", f"Invalid value: {shown(group)}: should be a domain with at least one dot")
    scope = spec.get("scope")
    if not scope:
        yield FieldFault("spec.scope", "Required value")
    elif scope not in ("Cluster", "Namespaced"):
        yield FieldFault("spec.scope", f'Unsupported value: {shown(scope)}: supported values: "Cluster", "Namespaced"')
    if spec.get("preserveUnknownFields"):
        yield FieldFault("spec.preserveUnknownFields", "Invalid value: true: cannot set to true, set "
                         "x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead")
    protected = group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))
    if protected and not objects.annotations(obj).get(APPROVED):
        yield FieldFault(f"metadata.annotations[{APPROVED}]", "Required value: protected groups must have approval "
                         f'annotation "{APPROVED}", see https://github.com/kubernetes/enhancements/pull/1111')


def _names(names: Object) -> Iterator[FieldFault]:
    for field in ("plural", "singular", "kind", "listKind"):
        value = names.get(field) or ""
        if not value:
            yield FieldFault(f"spec.names.{field}", "Required value")
        elif not _LABEL.match(value.lower() if field in ("kind", "listKind") else value):
            mixed = "may have mixed case, but should otherwise match: " if field in ("kind", "listKind") else ""
            yield FieldFault(f"spec.names.{field}", f"Invalid value: {shown(value)}: {mixed}{_LABEL_RULE}")
    for field in ("shortNames", "categories"):
        for number, value in enumerate(names.get(field) or ()):
            if not _LABEL.match(value):
                yield FieldFault(f"spec.names.{field}[{number}]", f"Invalid value: {shown(value)}: {_LABEL_RULE}")
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield FieldFault("spec.names.listKind", f"Invalid value: {shown(names['kind'])}: kind and listKind may not be "
                                                "the same")


def _conversion(conversion: Object) -> Iterator[FieldFault]:
    strategy = conversion.get("strategy")
    if strategy == "Webhook":
        yield FieldFault("spec.conversion.strategy", 'Invalid value: "Webhook": this server calls no conversion '
                         'webhooks; use "None" and versions of one shape, or keep one version served')
    elif strategy != "None":
        yield FieldFault("spec.conversion.strategy", f'Unsupported value: {shown(strategy)}: supported values: "None", '
                                                     '"Webhook"')
    elif conversion.get("webhook"):
        yield FieldFault("spec.conversion.webhook", "Forbidden: should not be set when strategy is not set to Webhook")


def _unchanged(spec: Object, before: Object, obj: Object, versions: list[Object]) -> Iterator[FieldFault]:
    for field in ("group", "scope"):
        if spec.get(field) != before.get(field):
            yield FieldFault(f"spec.{field}", f"Invalid value: {shown(spec.get(field))}: field is immutable")
    for field in ("kind", "plural"):
        if (spec.get("names") or {}).get(field) != (before.get("names") or {}).get(field):
            yield FieldFault(f"spec.names.{field}", f"Invalid value: {shown((spec.get('names') or {}).get(field))}: "
                                                    "field is immutable")
    known = {version.get("name") for version in versions}
    for number, name in enumerate(objects.status(obj).get("storedVersions") or ()):
        if name not in known:
            yield FieldFault(f"status.storedVersions[{number}]", f"Invalid value: {shown(name)}: missing from "
                             f"spec.versions; {name} was previously a storage version, and must remain in "
                             f"spec.versions "
                             "until a storage migration ensures no data remains persisted in it and removes it from "
                             "status.storedVersions")


def _version(version: Object, place: str) -> Iterator[FieldFault]:
    name = version.get("name") or ""
    if not name:
        yield FieldFault(f"{place}.name", "Required value")
    elif not _LABEL.match(name):
        yield FieldFault(f"{place}.name", f"Invalid value: {shown(name)}: {_LABEL_RULE}")
    if version.get("deprecationWarning") and not version.get("deprecated"):
        yield FieldFault(f"{place}.deprecationWarning", "Invalid value: can only be set for deprecated versions")
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        yield FieldFault(f"{place}.schema.openAPIV3Schema", "Required value: schemas are required")
        return
    found = structural.check(schema, f"{place}.schema.openAPIV3Schema")
    yield from found
    yield from _scale((version.get("subresources") or {}).get("scale"), f"{place}.subresources.scale")
    for number, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{place}.additionalPrinterColumns[{number}]")
    yield from _selectable(version.get("selectableFields") or [], schema, f"{place}.selectableFields")


def _scale(scale: Object | None, place: str) -> Iterator[FieldFault]:
    if scale is None:
        return
    for field, root, required in (("specReplicasPath", ".spec.", True), ("statusReplicasPath", ".status.", True),
                                  ("labelSelectorPath", ".status.", False)):
        path = scale.get(field)
        if not path:
            if required:
                yield FieldFault(f"{place}.{field}", "Required value")
        elif not path.startswith("."):
            yield FieldFault(f"{place}.{field}", f"Invalid value: {shown(path)}: must be a simple json path starting "
                                                 "with .")
        elif not path.startswith(root) and not (field == "labelSelectorPath" and path.startswith(".spec.")):
            yield FieldFault(f"{place}.{field}", f"Invalid value: {shown(path)}: should be a json path under "
                                                 f"{root.rstrip('.')}")


def _column(column: Object, place: str) -> Iterator[FieldFault]:
    if not column.get("name"):
        yield FieldFault(f"{place}.name", "Required value")
    if not column.get("type"):
        yield FieldFault(f"{place}.type", "Required value: must be one of " + ",".join(_COLUMN_TYPES))
    elif column["type"] not in _COLUMN_TYPES:
        yield FieldFault(f"{place}.type", f"Invalid value: {shown(column['type'])}: must be one of "
                                          + ",".join(_COLUMN_TYPES))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        yield FieldFault(f"{place}.format", f"Invalid value: {shown(column['format'])}: must be one of "
                                            + ",".join(_COLUMN_FORMATS))
    path = column.get("jsonPath")
    if not path:
        yield FieldFault(f"{place}.jsonPath", "Required value")
        return
    try:
        jsonpath.compile(path)
    except errors.InvalidInput as e:
        yield FieldFault(f"{place}.jsonPath", f"Invalid value: {shown(path)}: {e}")


def _selectable(fields: list[Object], schema: Object, place: str) -> Iterator[FieldFault]:
    if len(fields) > LIMIT_SELECTABLE_FIELDS:
        yield FieldFault(place, f"Too many: {len(fields)}: must have at most {LIMIT_SELECTABLE_FIELDS} items")
    seen: set[str] = set()
    for number, field in enumerate(fields):
        path = field.get("jsonPath") or ""
        where = f"{place}[{number}].jsonPath"
        if path in seen:
            yield FieldFault(where, f"Duplicate value: {shown(path)}")
        seen.add(path)
        inner: Any = schema
        for step in path.removeprefix(".").split("."):
            inner = (inner.get("properties") or {}).get(step) if isinstance(inner, dict) else None
        if not path.startswith(".") or not isinstance(inner, dict):
            yield FieldFault(where,
                             f"Invalid value: {shown(path)}: must be a simple json path of a field that the schema "
                                    "has")
        elif path.startswith(".metadata") or inner.get("type") not in ("string", "integer", "boolean"):
            yield FieldFault(where, f"Invalid value: {shown(path)}: must point to a field of type string, boolean or "
                                    "integer")
