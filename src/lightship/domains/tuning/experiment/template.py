"""What ``trialTemplate`` must be, in upstream's words. Pure; ``admission`` calls me.

The parameters are checked against the template as it is: an object in ``trialSpec``, or the text of a ConfigMap, which
``validate_text`` gets once the server has read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.tuning import gjson, names, templates
from lightship.domains.tuning.errors import BadTemplate
from lightship.kube import objects
from lightship.kube.objects import Object

_PATH = "spec.trialTemplate"
_PARAMETERS = f"{_PATH}.trialParameters"
_WHERE = ("configMapName", "configMapNamespace", "templatePath")
LIMIT_SHOWN_CHARACTERS = 200


def validate(obj: Object) -> Sequence[FieldError]:
    """Everything wrong with a template, but for the content of a ConfigMap."""
    template = objects.spec(obj).get("trialTemplate")
    if not isinstance(template, Mapping):
        return [FieldError(path=_PATH, message="must be specified")]
    found = [*_basics(template)]
    run, source = template.get("trialSpec"), template.get("configMap")
    if template.get("trialParameters") is None:
        return [*found, FieldError(path=_PARAMETERS, message="must be specified")]
    if run is None and source is None:
        return [*found, FieldError(path=f"{_PATH}.TrialSource", message=(
            "spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified"))]
    if run is not None and source is not None:
        return [*found, FieldError(path=_PATH, message=(
            "only one of spec.trialTemplate.trialSpec or spec.trialTemplate.configMap can be specified"))]
    if source is not None and not all(source.get(name) for name in _WHERE):
        return [*found, FieldError(path=f"{_PATH}.configMap",
                                   message="configMapName, configMapNamespace and templatePath must be specified")]
    return [*found, *_parameters(obj, run)] if run is not None else found


def validate_text(obj: Object, config_map: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a template in a ConfigMap."""
    try:
        text = text_of(obj, config_map)
    except BadTemplate as problem:
        return [FieldError(path=_PATH, message=f"unable to parse spec.trialTemplate: {problem}")]
    return [*_parameters(obj, text)]


def text_of(obj: Object, config_map: Object | None) -> str:
    """The template's text. Raises ``BadTemplate``."""
    source = objects.spec(obj)["trialTemplate"]["configMap"]
    name = f"{source.get('configMapNamespace')}/{source.get('configMapName')}"
    if config_map is None or not _shared(obj, config_map):
        # Another namespace's is read for whoever asks only where its owner says so; what else is there, nobody learns.
        raise BadTemplate(f'configMap not found: ConfigMap "{name}" is not there, or is another namespace\'s and not '
                          f"labelled {names.SHARED_LABEL}={names.SHARED_TEMPLATES}")
    text = (config_map.get("data") or {}).get(source.get("templatePath"))
    if not isinstance(text, str):
        raise BadTemplate(f"unable to find trial template in ConfigMap: TemplatePath: {source.get('templatePath')}, "
                          f"ConfigMap: {name}")
    return text


def _shared(obj: Object, config_map: Object) -> bool:
    """Whether an Experiment may use the ConfigMap: its own namespace's, or one with templates for all."""
    return (objects.namespace(config_map) == objects.namespace(obj)
            or objects.labels(config_map).get(names.SHARED_LABEL) == names.SHARED_TEMPLATES)


def _basics(template: Mapping[str, Any]) -> Iterator[FieldError]:
    if not template.get("primaryContainerName"):
        yield FieldError(path=f"{_PATH}.primaryContainerName", message="must be specified")
    if not template.get("successCondition") or not template.get("failureCondition"):
        yield FieldError(path=_PATH, message="successCondition and failureCondition must be specified")
    for name in ("successCondition", "failureCondition"):
        if problem := gjson.check(str(template.get(name) or "")):
            yield FieldError(path=f"{_PATH}.{name}", message=problem)


def _parameters(obj: Object, template: templates.Template) -> Iterator[FieldError]:
    """The parameters against the template, and the template with values in their place."""
    parameters = objects.spec(obj)["trialTemplate"].get("trialParameters") or ()
    known = {str(one.get("name")) for one in objects.spec(obj).get("parameters") or ()}
    texts = [template] if isinstance(template, str) else templates.texts(template)
    placeholders = {name for text in texts for name in templates.PLACEHOLDER.findall(text)}
    seen: set[str] = set()
    references: set[str] = set()
    for place, parameter in enumerate(parameters):
        name, reference = str(parameter.get("name") or ""), str(parameter.get("reference") or "")
        path = f"{_PARAMETERS}[{place}]"
        if not name or not reference or "{" in name or "}" in name:
            yield FieldError(path=path,
                             message="name and reference must be specified and name must not contain '{' or '}'")
            continue
        if name in seen:
            yield FieldError(path=f"{path}.name", message=(
                f"parameter name {name} can't be duplicated in spec.trialTemplate.trialParameters"))
            continue
        if reference in references:
            yield FieldError(path=f"{path}.reference", message=(
                f"parameter reference {reference} can't be duplicated in spec.trialTemplate.trialParameters"))
            continue
        seen.add(name)
        references.add(reference)
        if known and not templates.is_metadata(reference) and reference not in known:
            yield FieldError(path=f"{path}.reference",
                             message=f"parameter reference {reference} does not exist in spec.parameters")
        if name not in placeholders:
            yield FieldError(path=f"{path}.name", message=(
                f"parameter name: {name} in spec.trialParameters not found in spec.trialTemplate"))
            return
    if missing := sorted(placeholders - seen):
        shown = " ".join("${trialParameters." + name + "}" for name in missing)
        yield FieldError(path=_PATH, message=(
            f"parameters: [{shown[:LIMIT_SHOWN_CHARACTERS]}] in spec.trialTemplate not found in spec.trialParameters"))
    for unused in sorted(known - references):
        yield FieldError(path=_PARAMETERS, message=(
            f"no trialParameter refers to spec.parameters {unused!r}: every parameter must be used"))
    yield from _run(template, seen)


def _run(template: templates.Template, parameters: set[str]) -> Iterator[FieldError]:
    try:
        run = templates.read(templates.replaced_text(template, dict.fromkeys(parameters, "1"))) if isinstance(
            template, str) else template
    except BadTemplate as problem:
        yield FieldError(path=_PATH, message=f"unable to convert spec.trialTemplate to unstructured: {problem}")
        return
    if fault := templates.problem_of(run):
        yield FieldError(path=_PATH, message=f"unable to convert spec.trialTemplate to unstructured: {fault}")
        return
    metadata = run.get("metadata") or {}
    if metadata.get("name") or metadata.get("namespace"):
        yield FieldError(path=_PATH,
                         message="metadata.name and metadata.namespace in spec.trialTemplate must be omitted")
    if not run.get("apiVersion") or not run.get("kind"):
        yield FieldError(path=_PATH, message="APIVersion and Kind in spec.trialTemplate must be specified")
