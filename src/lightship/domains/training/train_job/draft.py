"""A JobSet's specification while it is worked out: its replicated Jobs as steps, their containers by name.

``lower`` makes me of a copy that is mine to change, ``policies`` works on me, and ``spec`` is what came of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from lightship.domains.training import names
from lightship.kube import objects, quantities

JobSetSpec = dict[str, Any]


class Container:
    """One container of a step; ``body`` is its specification."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    @property
    def env(self) -> list[dict[str, Any]]:
        return self.body.get("env") or []

    @env.setter
    def env(self, variables: Sequence[Mapping[str, Any]]) -> None:
        if variables:
            self.body["env"] = [dict(variable) for variable in variables]

    def add(self, variables: Iterable[Mapping[str, Any]]) -> None:
        """The variables by which the nodes of a training meet, and the port on which they do."""
        self.env = upsert(self.env, variables)
        ports = self.body.get("ports") or []
        if not any(port.get("containerPort") == names.PORT for port in ports):
            self.body["ports"] = [*ports, {"containerPort": names.PORT}]


class Step:
    """One replicated Job; ``count`` is its Pods."""

    def __init__(self, body: dict[str, Any], count: int) -> None:
        self.body = body
        self.count = count

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def kind(self) -> str:
        """The step that it is marked as: trainer, dataset-initializer, model-initializer, or nothing."""
        return objects.labels(self.body.get("template") or {}).get(names.ANCESTOR_LABEL, "")

    @property
    def job(self) -> dict[str, Any]:
        """The Job's specification."""
        spec: dict[str, Any] = self.body["template"].setdefault("spec", {})
        return spec

    @property
    def pod(self) -> dict[str, Any]:
        """The Pod's specification."""
        spec: dict[str, Any] = self.job.setdefault("template", {}).setdefault("spec", {})
        return spec

    def container(self, name: str) -> Container | None:
        """A container or, after those, an init container."""
        everyone = [*(self.pod.get("containers") or ()), *(self.pod.get("initContainers") or ())]
        return next((Container(body) for body in everyone if body.get("name") == name), None)


class Draft:
    """All steps of one JobSet."""

    def __init__(self, spec: Mapping[str, Any], policy: Mapping[str, Any] | None) -> None:
        self._spec: JobSetSpec = deepcopy(dict(spec))
        self.steps = [Step(body, 1) for body in self._spec.get("replicatedJobs") or ()]
        for step in self.steps:
            step.count = max(int(step.job.get("parallelism") or 1), 1)
            if step.kind == names.TRAINER and policy is not None:
                step.count = max(int(policy.get("numNodes") or 1), 1)

    def with_step(self, kind: str) -> list[Step]:
        return [step for step in self.steps if step.kind == kind]

    def container(self, step: str, name: str) -> Container | None:
        found = next((one for one in self.steps if one.name == step), None)
        return found.container(name) if found is not None else None

    @property
    def in_order(self) -> bool:
        """Whether each step waits for the one before to have begun."""
        return (self._spec.get("startupPolicy") or {}).get("startupPolicyOrder") == "InOrder"

    @property
    def network(self) -> Mapping[str, Any]:
        return self._spec.get("network") or {}

    def spec(self) -> JobSetSpec:
        """The specification with each step's Pods counted."""
        for step in self.steps:
            step.job["parallelism"] = step.job["completions"] = step.count
        return self._spec


def upsert(items: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]], *,
           key: str = "name") -> list[dict[str, Any]]:
    """``items`` with ``wanted`` in place of those of the same ``key``, and the others after them."""
    result = {str(item[key]): dict(item) for item in items}
    for item in wanted:
        result[str(item[key])] = dict(item)
    return list(result.values())


def gpus(resources: Mapping[str, Any]) -> int:
    """The GPUs of a node: requests before limits."""
    for kind in ("requests", "limits"):
        for name, amount in (resources.get(kind) or {}).items():
            if "gpu" in name.lower() and (count := quantities.whole(amount)):
                return count
    return 0
