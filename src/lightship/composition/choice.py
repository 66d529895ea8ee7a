"""Which domains act on a cluster that others keep: those whose kinds it serves and that upstream does not run there.

``remote`` calls me before it composes. Two controllers of one kind would undo each other's writes, and one whose kind
is not served would wait for ever, and all others with it; so each is left out, with what to do about it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.domains import serving, training
from lightship.domains.pipelines import domain as pipelines
from lightship.domains.tuning import domain as tuning
from lightship.kube import objects
from lightship.kube.resources import DEPLOYMENTS, JOB_SETS, Resource


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the platform: what must be served for it, and upstream's Deployments that would do the same."""

    name: str
    needs: tuple[Resource, ...]
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a cluster has: the resources it serves of those that were asked for, and upstream's controllers in it."""

    served: frozenset[Resource]
    rivals: frozenset[str]
    """As ``NAMESPACE/NAME``."""


SERVING, TRAIN_JOBS, OLD_JOBS, TUNING = "serving", "trainjobs", "v1 jobs", "tuning"
PIPELINE_OBJECTS = "pipeline objects"
PARTS = (
    Part(name=SERVING, needs=tuple(kind.resource for kind in serving.SERVING.kinds),
         rivals=("kserve-controller-manager",)),
    Part(name=TRAIN_JOBS, needs=(*(kind.resource for kind in training.TRAINING.kinds), JOB_SETS),
         rivals=("kubeflow-trainer-controller-manager",)),
    Part(name=OLD_JOBS, needs=tuple(kind.resource for kind in training.JOBS.kinds), rivals=("training-operator",)),
    Part(name=TUNING, needs=tuple(kind.resource for kind in tuning.TUNING.kinds), rivals=("katib-controller",)),
    Part(name=PIPELINE_OBJECTS, needs=tuple(kind.resource for kind in pipelines.PIPELINES.kinds),
         rivals=("ml-pipeline",)),
)
EVERYTHING = frozenset(part.name for part in PARTS)


def choose(found: Found, parts: Sequence[Part] = PARTS) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names of the parts that act here; and of each other, in one line, why it does not and what to do."""
    chosen, refusals = [], []
    for part in parts:
        missing = [f"{need.kind} ({need.group})" for need in part.needs if need not in found.served]
        rivals = sorted(rival for rival in found.rivals if rival.partition("/")[2] in part.rivals)
        if rivals:
            refusals.append(f"{part.name}: left to upstream's {', '.join(rivals)}; remove it to have Lightship act")
        elif missing:
            refusals.append(f"{part.name}: the cluster does not serve {', '.join(missing)}; apply their "
                            "CustomResourceDefinitions and start again")
        else:
            chosen.append(part.name)
    return frozenset(chosen), tuple(refusals)


async def look(client: Client, parts: Sequence[Part] = PARTS) -> Found:
    """Ask the cluster. Raises what ``Client`` raises, but for a group that is not there."""
    needs = {need for part in parts for need in part.needs}
    groups: dict[str, Collection[str]] = {}
    for api in {need.api_version for need in needs}:
        groups[api] = await _plurals(client, api)
    rivals = [f"{objects.namespace(found)}/{objects.name(found)}"
              for part in parts for name in part.rivals
              for found in (await client.list(DEPLOYMENTS, Selection(fields=f"metadata.name={name}"))).items]
    return Found(served=frozenset(need for need in needs if need.plural in groups[need.api_version]),
                 rivals=frozenset(rivals))


async def serves(client: Client, resource: Resource) -> bool:
    """Whether the cluster has a kind that only some have."""
    return resource.plural in await _plurals(client, resource.api_version)


async def _plurals(client: Client, api_version: str) -> Collection[str]:
    try:
        answer: Any = await client.raw("GET", f"/apis/{api_version}")
    except errors.NotFound:
        return ()
    return {each["name"] for each in answer["resources"]}
