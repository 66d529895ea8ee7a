"""What a v1 job is taken to mean and what it must be, in upstream's words: the same here and as a webhook. Pure.

Upstream fills in defaults each time it reads a job; here they are filled in once, and shown, but for the main
container's port: that is in a list, where applying the same manifest again would take it out again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.training.v1 import names
from lightship.domains.training.v1.framework import Framework
from lightship.kube import objects, patches
from lightship.kube.objects import Object

LIMIT_REPLICAS = 1000
"""Replicas of one job: more would keep every other from the API for long."""
LIMIT_NAME_CHARACTERS = 63
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_RULE = ("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
              "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
              "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')")


def default(framework: Framework, obj: Object) -> Object:
    """The job with its defaults: policies, types in their own case, replicas."""
    spec = objects.spec(obj)
    given = spec.get(framework.specs)
    policy = spec.get("runPolicy") or {}
    filled = spec | {"runPolicy": {"suspend": False, **policy,
                                   "cleanPodPolicy": policy.get("cleanPodPolicy") or names.CLEAN_NONE}}
    if isinstance(given, Mapping):
        filled[framework.specs] = {type: _replicas(framework, one) for type, one in _in_case(framework, given).items()}
    return obj | {"spec": framework.default(filled)}


def _in_case(framework: Framework, given: Mapping[str, Any]) -> dict[str, Any]:
    """``worker`` and ``WORKER`` are ``Worker``. Where that is there too, as when a manifest that says ``worker`` is
    applied again, it is changed by them."""
    found = {type: one for type, one in given.items() if type in framework.types}
    for type, one in given.items():
        known = next((known for known in framework.types if known.lower() == type.lower()), type)
        if type != known and isinstance(one, Mapping) and isinstance(found.get(known), Mapping):
            found[known] = patches.merge(found[known], one)
        elif type != known or type not in framework.types:
            found[known] = one
    return found


def _replicas(framework: Framework, given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    made = dict(given)
    if made.get("replicas") is None:
        made["replicas"] = 1
    made["restartPolicy"] = made.get("restartPolicy") or framework.restart_policy
    return made


def validate(framework: Framework, obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a job."""
    spec = objects.spec(obj)
    return [*_name(framework, obj), *_policy(obj, old), *_specs(framework, spec.get(framework.specs) or {}),
            *framework.check(spec)]


def _name(framework: Framework, obj: Object) -> Iterator[FieldError]:
    name = objects.name(obj)
    if not name:
        return
    if not _NAME.fullmatch(name):
        yield FieldError(path="metadata.name", message=f'Invalid value: "{name}": should match: {_NAME_RULE}')
    given: Mapping[str, Any] = objects.spec(obj).get(framework.specs) or {}
    longest = max((len(names.replica(name, type, max(0, _count(one) - 1))) for type, one in given.items()), default=0)
    if longest > LIMIT_NAME_CHARACTERS:
        yield FieldError(path="metadata.name", message=f'Invalid value: "{name}": must be no more than '
                         f"{len(name) + LIMIT_NAME_CHARACTERS - longest} characters, since its replicas' host names "
                         "begin with it")


def _policy(obj: Object, old: Object | None) -> Iterator[FieldError]:
    policy = objects.spec(obj).get("runPolicy") or {}
    place = "spec.runPolicy"
    managed_by = policy.get("managedBy")
    managers = (names.OTHER_MANAGER, names.MANAGER)
    if managed_by is not None and managed_by not in managers:
        yield _unsupported(f"{place}.managedBy", managed_by, managers)
    if old is not None and (objects.spec(old).get("runPolicy") or {}).get("managedBy") != managed_by:
        yield FieldError(path=f"{place}.managedBy", message=f'Invalid value: "{managed_by}": field is immutable')
    if policy.get("cleanPodPolicy") not in names.CLEAN_POLICIES:
        yield _unsupported(f"{place}.cleanPodPolicy", policy.get("cleanPodPolicy"), names.CLEAN_POLICIES)
    for name in ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        if (policy.get(name) or 0) < 0:
            yield FieldError(path=f"{place}.{name}",
                             message=f"Invalid value: {policy[name]}: must be greater than or equal to 0")


def _specs(framework: Framework, given: Mapping[str, Any]) -> Iterator[FieldError]:
    place = f"spec.{framework.specs}"
    if not given:
        yield FieldError(path=place, message="Required value: must be required")
    for type, one in given.items():
        role = f"{place}[{type}]"
        if type not in framework.types:
            yield _unsupported(role, type, framework.types)
        yield from _containers(framework, f"{role}.template.spec.containers", one)
        if _count(one) < 0:
            yield FieldError(path=f"{role}.replicas",
                             message=f"Invalid value: {_count(one)}: must be greater than or equal to 0")
        if one.get("restartPolicy") not in names.RESTART_POLICIES:
            yield _unsupported(f"{role}.restartPolicy", one.get("restartPolicy"), names.RESTART_POLICIES)
    if (total := sum(_count(one) for one in given.values())) > LIMIT_REPLICAS:
        yield FieldError(path=place, message=f"Invalid value: {total}: must have at most {LIMIT_REPLICAS} replicas")


def _containers(framework: Framework, place: str, replicas: Mapping[str, Any]) -> Iterator[FieldError]:
    containers = objects.spec(replicas.get("template") or {}).get("containers") or []
    if not isinstance(containers, list) or not all(isinstance(one, Mapping) for one in containers):
        yield FieldError(path=place, message="Invalid value: must be a list of containers")
        return
    if not containers:
        yield FieldError(path=place, message="Required value: must be specified")
    for index, container in enumerate(containers):
        if not container.get("image"):
            yield FieldError(path=f"{place}[{index}].image", message="Required value: must be required")
    if framework.main_container and not any(one.get("name") == framework.container for one in containers):
        yield FieldError(path=place, message="Required value: must have at least one container with name "
                                             f"{framework.container}")


def _count(replicas: Mapping[str, Any]) -> int:
    return int(replicas.get("replicas") or 0)


def _unsupported(place: str, value: object, known: Iterable[str]) -> FieldError:
    return FieldError(path=place, message=f'Unsupported value: "{value}": supported values: '
                                          + ", ".join(f'"{one}"' for one in known))
