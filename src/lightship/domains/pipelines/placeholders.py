"""Placeholders of commands, arguments, environment, images and constants: what replaces ``{{$...}}``. Pure.

``children`` resolves a container's command line with me, ``dag`` the constants of a task's inputs. JSON placeholders
(``Concat``, ``IfPresent``) were decoded by ``parse``; here they are dicts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightship.domains.pipelines.values import normal, text

WORKSPACE_PATH = "/kfp-workspace"
IN_WORKSPACE = "_kfp_workspace"
"""The metadata of an artifact that lies in the run's workspace, under ``.artifacts``."""

_PLACEHOLDER = re.compile(r"\{\{\$(?P<body>[^{}]*)\}\}")
_FIELD = re.compile(r"""^\.(?P<side>inputs|outputs)\.(?P<kind>parameters|artifacts)\[(?P<quote>['"])(?P<name>.+?)"""
                    r"""(?P=quote)\](?:\.(?P<attribute>\w+))?(?:\[(?P<q2>['"])(?P<item>.+?)(?P=q2)\])?$""")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the placeholders about the run and the task say."""

    name: str = ""
    resource_name: str = ""
    uuid: str = ""
    create_time: str = ""
    schedule_time: str = ""
    task_name: str = ""
    task_uuid: str = ""
    root: str = ""

    def values(self) -> dict[str, str]:
        return {
            ".pipeline_job_name": self.name,
            ".pipeline_job_resource_name": self.resource_name,
            ".pipeline_job_uuid": self.uuid,
            ".pipeline_job_create_time_utc": self.create_time,
            ".pipeline_job_schedule_time_utc": self.schedule_time,
            ".pipeline_task_name": self.task_name,
            ".pipeline_task_uuid": self.task_uuid,
            ".pipeline_root": self.root,
            ".workspace_path": WORKSPACE_PATH,
        }


NO_JOB = Job()


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Everything that a placeholder of one step may name.

    ``executor_input`` is KFP's ExecutorInput as JSON data; ``local_path`` turns an artifact's URI into its path in the
    container.
    """

    executor_input: Mapping[str, Any]
    local_path: Callable[[str], str]
    job: Job = field(default=NO_JOB)
    in_pod: bool = False
    """Whether the text goes into a Pod's command, arguments or environment, where Kubernetes replaces ``$(NAME)`` and
    ``$$``: what its author wrote there is meant so, and what placeholders stand for is not."""


def decode(element: str) -> Any:
    """A command-line element as ``parse`` keeps it: the dict of a JSON placeholder, or the string itself."""
    stripped = element.strip()
    if stripped.startswith(("{\"Concat\"", "{\"IfPresent\"", "{ \"Concat\"", "{ \"IfPresent\"")):
        try:
            decoded = json.loads(stripped)
        except ValueError:
            return element
        if isinstance(decoded, dict) and len(decoded) == 1:
            return decoded
    return element


def command_line(elements: Sequence[Any], scope: Scope) -> list[str]:
    """The elements with every placeholder replaced; an ``IfPresent`` gives any number of elements, or none."""
    resolved: list[str] = []
    for element in elements:
        resolved += _many(element, scope)
    return resolved


def _many(element: Any, scope: Scope) -> list[str]:
    if isinstance(element, str):
        return [replaced(element, scope)]
    if isinstance(element, list):
        return [part for item in element for part in _many(item, scope)]
    if isinstance(element, dict) and "Concat" in element:
        return ["".join(part for item in element["Concat"] for part in _many(item, scope))]
    if isinstance(element, dict) and "IfPresent" in element:
        choice = element["IfPresent"]
        branch = choice.get("Then") if _present(str(choice.get("InputName", "")), scope) else choice.get("Else")
        return [] if branch is None else _many(branch, scope)
    return [text(element)]


def _present(name: str, scope: Scope) -> bool:
    inputs = scope.executor_input.get("inputs") or {}
    if (inputs.get("parameterValues") or {}).get(name) is not None:
        return True
    return bool(((inputs.get("artifacts") or {}).get(name) or {}).get("artifacts"))


def replaced(value: str, scope: Scope) -> str:
    """``value`` with the placeholders in it replaced, once: what they stand for is not searched again."""
    if "{{$" not in value:
        return value
    return _PLACEHOLDER.sub(lambda match: _escaped(_meaning(match, scope), scope), value)


def _escaped(meaning: str, scope: Scope) -> str:
    return meaning.replace("$", "$$") if scope.in_pod else meaning


def _meaning(match: re.Match[str], scope: Scope) -> str:
    body = match.group("body")
    if not body:
        return json.dumps(scope.executor_input, ensure_ascii=False)
    known = scope.job.values().get(body)
    if known is not None:
        return known
    if body in (".outputs.output_file", ".outputs.output_metadata_uri"):
        return str((scope.executor_input.get("outputs") or {}).get("outputFile", ""))
    place = _FIELD.match(body)
    if place is None:
        return match.group(0)
    found = _field(place, scope)
    return match.group(0) if found is None else found


def _field(place: re.Match[str], scope: Scope) -> str | None:
    side = scope.executor_input.get(place["side"]) or {}
    name, attribute = place["name"], place["attribute"]
    if place["kind"] == "parameters":
        if place["side"] == "inputs":
            return text((side.get("parameterValues") or {}).get(name))
        return str(((side.get("parameters") or {}).get(name) or {}).get("outputFile", ""))
    artifacts = ((side.get("artifacts") or {}).get(name) or {}).get("artifacts") or []
    if not artifacts:
        return ""
    return _artifact_field(artifacts[0], attribute or "uri", place["item"], scope)


def _artifact_field(artifact: Mapping[str, Any], attribute: str, item: str | None, scope: Scope) -> str | None:
    if attribute == "path":
        path = scope.local_path(str(artifact.get("uri", "")))
        return f"{WORKSPACE_PATH}/.artifacts{path}" if (artifact.get("metadata") or {}).get(IN_WORKSPACE) is True \
            else str(artifact.get("customPath") or path)
    if attribute == "metadata":
        metadata = artifact.get("metadata") or {}
        return text(metadata if item is None else metadata.get(item))
    if attribute in ("uri", "name"):
        return str(artifact.get(attribute, ""))
    return None


def constant(value: Any, job: Job, sibling: Callable[[str], Any]) -> Any:
    """A constant of a task's inputs with its placeholders replaced, in lists and mappings too.

    ``sibling`` gives the value of another input of the same task. A string that is nothing but one placeholder of an
    input becomes that input's value, type and all.
    """
    if isinstance(value, Mapping):
        return {key: constant(item, job, sibling) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [constant(item, job, sibling) for item in value]
    if not isinstance(value, str) or "{{$" not in value:
        return normal(value)
    whole = _PLACEHOLDER.fullmatch(value)
    if whole:
        place = _FIELD.match(whole["body"])
        if place and place["side"] == "inputs" and place["kind"] == "parameters":
            return sibling(place["name"])

    def meaning(match: re.Match[str]) -> str:
        known = job.values().get(match["body"])
        if known is not None:
            return known
        place = _FIELD.match(match["body"])
        if place and place["side"] == "inputs" and place["kind"] == "parameters":
            return text(sibling(place["name"]))
        return match[0]

    return _PLACEHOLDER.sub(meaning, value)


def inputs_named(value: Any) -> list[tuple[str, str]]:
    """The (kind, name) of every input that placeholders in ``value`` name, for validation."""
    if isinstance(value, Mapping):
        found = [pair for item in value.values() for pair in inputs_named(item)]
        return found
    if isinstance(value, (list, tuple)):
        return [pair for item in value for pair in inputs_named(item)]
    if not isinstance(value, str):
        return []
    places = (_FIELD.match(match["body"]) for match in _PLACEHOLDER.finditer(value))
    return [(place["kind"], place["name"]) for place in places if place and place["side"] == "inputs"]
