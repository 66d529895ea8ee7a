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
from lightship.kube import label_rules, selectors
from lightship.kube.objects import Object

LIMIT_ANNOTATIONS_BYTES = 256 * 1024
LIMIT_NAME_CHARACTERS = 253
LIMIT_SHOWN_CHARACTERS = 300

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII)

_UNSET: tuple[Any, ...] = (None, "", {}, [])

_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_RULE = ("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
              "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
              f"'{_PART}')")
SUBDOMAIN_RULE = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
                  "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
                  rf"'{_PART}(\.{_PART})*')")
LIMIT_LABEL_CHARACTERS = 63


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
            yield FieldFault("metadata.name", _invalid(name, "may not be '.' or '..' or contain '/' or '%'"))
    elif served.label_name and not is_label(name):
        long = len(name) > LIMIT_LABEL_CHARACTERS
        yield FieldFault("metadata.name", _invalid(name, _too_long(LIMIT_LABEL_CHARACTERS) if long else LABEL_RULE))
    elif not is_subdomain(name):
        long = len(name) > LIMIT_NAME_CHARACTERS
        yield FieldFault("metadata.name", _invalid(name, _too_long(LIMIT_NAME_CHARACTERS) if long else SUBDOMAIN_RULE))
    yield from label_faults(metadata.get("labels") or {}, "metadata.labels")
    total = 0
    for key, value in (metadata.get("annotations") or {}).items():
        total += len(key) + len(value)
        if not selectors.valid_key(key.lower()):
            yield FieldFault("metadata.annotations", _invalid(key, label_rules.key_fault(key)))
    if total > LIMIT_ANNOTATIONS_BYTES:
        yield FieldFault("metadata.annotations", f"Too long: may not be more than {LIMIT_ANNOTATIONS_BYTES} bytes")
    for finalizer in metadata.get("finalizers") or ():
        if not selectors.valid_key(finalizer):
            yield FieldFault("metadata.finalizers", _invalid(finalizer, label_rules.key_fault(finalizer)))
    controllers = sum(1 for reference in metadata.get("ownerReferences") or () if reference.get("controller"))
    if controllers > 1:
        yield FieldFault("metadata.ownerReferences", "Invalid value: only one reference can have controller set")


def label_faults(labels: dict[str, str], place: str) -> Iterator[FieldFault]:
    for key, value in labels.items():
        if not selectors.valid_key(key):
            yield FieldFault(place, _invalid(key, label_rules.key_fault(key)))
        if not selectors.valid_value(value):
            yield FieldFault(place, _invalid(value, label_rules.value_fault(value)))


def _invalid(value: str, why: str) -> str:
    """A fault's message; the value as Go quotes it, cut where it is very long."""
    return f"Invalid value: {msgspec.json.encode(value[:LIMIT_SHOWN_CHARACTERS]).decode()}: {why}"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"
