"""What every object must look like before anybody reads it: types, names, labels, sizes.

Pure; ``lifecycle`` calls me on each create and update. Wrong types are ``errors.BadRequest``; wrong values are faults
that end in ``Invalid``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver import kubernetes_types, schemas, typed
from lightship.cluster.apiserver.registry import FieldFault, Served
from lightship.kube import selectors
from lightship.kube.objects import Object

LIMIT_ANNOTATIONS_BYTES = 256 * 1024
LIMIT_NAME_CHARACTERS = 253

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII)

_UNSET: tuple[Any, ...] = (None, "", {}, [])

LABEL_RULE = ("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
              "and end with an alphanumeric character (63 characters at most)")
SUBDOMAIN_RULE = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
                  "must start and end with an alphanumeric character (253 characters at most)")


def is_label(text: Any) -> bool:
    return isinstance(text, str) and _LABEL.match(text) is not None


def is_subdomain(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= LIMIT_NAME_CHARACTERS and _SUBDOMAIN.match(text) is not None


def read_object(data: Any, served: Served) -> Object:
    """``data`` as an object of the kind: kind and version filled in or checked, every typed field of its type.

    Nulls at the top and whatever is empty in the metadata are dropped, as Go's encoding does. Raises
    ``errors.BadRequest``.
    """
    resource = served.resource
    if not isinstance(data, dict):
        raise errors.BadRequest(f"the body must be a {resource.kind} object")
    for key, wanted in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        found = data.get(key)
        if found and found != wanted:
            raise errors.BadRequest(f"the {key} in the data ({str(found)[:100]}) does not match the expected {key} "
                                    f"({wanted})")
    metadata = data.get("metadata")
    if metadata is None:
        metadata = {}
    convert(metadata, schemas.ObjectMeta, "metadata")
    if kubernetes_types.name_of(resource.api_version, resource.kind):
        rest = typed.normal(data, resource.api_version, resource.kind)
        metadata = rest.pop("metadata", {})
    else:
        rest = {key: value for key, value in data.items() if value is not None}
        rest.pop("metadata", None)
        convert(rest, served.schema or schemas.Loose, "")
    rest.pop("apiVersion", None)
    rest.pop("kind", None)
    return {"apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {key: value for key, value in metadata.items() if value not in _UNSET}} | rest


def convert(data: Any, type: type, place: str) -> Any:
    """``data`` as ``type``. Raises ``errors.BadRequest`` with the field's path."""
    try:
        return msgspec.convert(data, type)
    except msgspec.ValidationError as e:
        message, _, path = str(e).partition(" - at `$")
        path = path.rstrip("`").lstrip(".")
        field = f"{place}.{path}" if place and path and not path.startswith("[") else place + path
        raise errors.BadRequest(f"{field or 'the body'}: {message}", field=field) from e


def faults(obj: Object, served: Served) -> Iterator[FieldFault]:
    """What is wrong with the metadata's values."""
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    if not name:
        yield FieldFault("metadata.name", "Required value: name or generateName is required")
    elif served.free_name:
        if name in (".", "..") or "/" in name or "%" in name or len(name) > LIMIT_NAME_CHARACTERS:
            yield FieldFault("metadata.name", f"Invalid value: {name!r}: may not be '.' or '..' or contain '/' or '%'")
    elif served.label_name and not is_label(name):
        yield FieldFault("metadata.name", f"Invalid value: {name!r}: {LABEL_RULE}")
    elif not is_subdomain(name):
        yield FieldFault("metadata.name", f"Invalid value: {name!r}: {SUBDOMAIN_RULE}")
    yield from label_faults(metadata.get("labels") or {}, "metadata.labels")
    total = 0
    for key, value in (metadata.get("annotations") or {}).items():
        total += len(key) + len(value)
        if not selectors.valid_key(key.lower()):
            yield FieldFault("metadata.annotations", f"Invalid value: {key!r}: not a qualified name")
    if total > LIMIT_ANNOTATIONS_BYTES:
        yield FieldFault("metadata.annotations", f"Too long: may not be more than {LIMIT_ANNOTATIONS_BYTES} bytes")
    for finalizer in metadata.get("finalizers") or ():
        if not selectors.valid_key(finalizer):
            yield FieldFault("metadata.finalizers", f"Invalid value: {finalizer!r}: not a qualified name")
    controllers = sum(1 for reference in metadata.get("ownerReferences") or () if reference.get("controller"))
    if controllers > 1:
        yield FieldFault("metadata.ownerReferences", "Invalid value: only one reference can have controller set")


def label_faults(labels: dict[str, str], place: str) -> Iterator[FieldFault]:
    for key, value in labels.items():
        if not selectors.valid_key(key):
            yield FieldFault(place, f"Invalid value: {key!r}: not a qualified name")
        if not selectors.valid_value(value):
            yield FieldFault(place, f"Invalid value: {value!r}: a label's value has at most 63 alphanumeric "
                                    f"characters, '-', '_' or '.', and starts and ends with an alphanumeric one")
