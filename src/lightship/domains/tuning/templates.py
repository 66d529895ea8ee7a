"""What a Trial runs, from the Experiment's template and one assignment. Pure; ``experiment.decide`` calls me.

A template is an object (``trialSpec``) or text (of a ConfigMap). In an object, placeholders are replaced inside its
texts, so a value with quotes cannot change its shape; text is replaced first and then read as YAML, as upstream does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightship.domains.tuning.errors import BadTemplate
from lightship.kube import objects
from lightship.kube.objects import Object

PLACEHOLDER = re.compile(r"\$\{trialParameters\.(.+?)\}")
_METADATA = re.compile(r"\$\{trialSpec\.(.+?)\}")
_INDEXED = re.compile(r"(.+)\[(.+)\]")
_PLAIN_KEYS = ("Name", "Namespace", "Kind", "APIVersion")
_INDEXED_KEYS = {"Annotations": objects.annotations, "Labels": objects.labels}
LIMIT_TEMPLATE_CHARACTERS = 1024 * 1024

Template = Mapping[str, Any] | str
"""An object, or the text of one."""


def is_metadata(reference: str) -> bool:
    """Whether a trialParameter refers to the Trial's own metadata."""
    key = _metadata_key(reference)
    return key is not None and (key[0] in _PLAIN_KEYS or (key[0] in _INDEXED_KEYS and bool(key[1])))


def render(template: Template, parameters: Sequence[Mapping[str, Any]], key: objects.Key,
           assignments: Mapping[str, str]) -> Object:
    """The run of the Trial ``key``. Raises ``BadTemplate``."""
    source = read(template) if isinstance(template, str) else template
    _check(source)
    values = _values(source, parameters, key, assignments)
    made = read(replaced_text(template, values)) if isinstance(template, str) else _replaced(template, values)
    _check(made)
    return dict(made) | {"metadata": dict(objects.meta(made)) | {"name": key.name, "namespace": key.namespace}}


def read(text: str) -> Object:
    """The one object in ``text``. Raises ``BadTemplate``."""
    import yaml

    if len(text) > LIMIT_TEMPLATE_CHARACTERS:
        raise BadTemplate(f"a trial template may have {LIMIT_TEMPLATE_CHARACTERS} characters")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise BadTemplate(f"the trial template is not YAML: {problem}") from problem
    if not isinstance(found, dict):
        raise BadTemplate("the trial template is not an object")
    return found


def replaced_text(text: str, values: Mapping[str, str]) -> str:
    """``text`` with the placeholders that have a value replaced; others stay."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def texts(value: Any) -> list[str]:
    """All texts of a template, keys among them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() for text in (str(key), *texts(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return []


def problem_of(template: Mapping[str, Any]) -> str:
    """Why no run can be made of an object with such a shape, or nothing."""
    metadata = template.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        return "metadata is not an object"
    for name in ("labels", "annotations"):
        found = (metadata or {}).get(name)
        if found is not None and not (isinstance(found, Mapping) and all(
                isinstance(value, str) for value in found.values())):
            return f"metadata.{name} is not an object of texts"
    if not isinstance(template.get("spec", {}), Mapping):
        return "spec is not an object"
    return ""


def _check(template: Mapping[str, Any]) -> None:
    if problem := problem_of(template):
        raise BadTemplate(f"the trial template makes no object: {problem}")


def _replaced(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return replaced_text(value, values) if "${" in value else value
    if isinstance(value, Mapping):
        return {replaced_text(str(key), values): _replaced(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, values) for inner in value]
    return value


def _values(template: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]], key: objects.Key,
            assignments: Mapping[str, str]) -> dict[str, str]:
    """What each trialParameter stands for in this Trial."""
    values, used = {}, set()
    for parameter in parameters:
        reference = str(parameter.get("reference") or "")
        name = str(parameter.get("name") or "")
        if _METADATA.search(reference):
            values[name] = _metadata(template, reference, key)
        elif reference in assignments:
            values[name] = assignments[reference]
            used.add(reference)
        else:
            raise BadTemplate(f"the trialParameter {name!r} refers to {reference!r}, which is no assigned parameter: "
                              f"there are {', '.join(sorted(assignments)) or 'none'}")
    if unused := sorted(set(assignments) - used):
        raise BadTemplate(f"no trialParameter refers to the parameter {unused[0]!r}",
                          remedy=f"Add one with reference: {unused[0]} to spec.trialTemplate.trialParameters")
    return values


def _metadata(template: Mapping[str, Any], reference: str, key: objects.Key) -> str:
    name, index = _metadata_key(reference) or ("", "")
    plain = {"Name": key.name, "Namespace": key.namespace, "Kind": str(template.get("kind") or ""),
             "APIVersion": str(template.get("apiVersion") or "")}
    if name in plain:
        return plain[name]
    if name not in _INDEXED_KEYS or not index:
        raise BadTemplate(f"illegal reference of trial metadata: {reference}")
    found = _INDEXED_KEYS[name](template).get(index)
    if found is None:
        raise BadTemplate(f"illegal reference of trial metadata: {reference}; failed to fetch {name[:-1]}: {index}")
    return str(found)


def _metadata_key(reference: str) -> tuple[str, str] | None:
    match = _METADATA.search(reference)
    if match is None:
        return None
    indexed = _INDEXED.search(match[1])
    return (indexed[1], indexed[2]) if indexed else (match[1], "")
