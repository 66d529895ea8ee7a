"""Which revisions of a component there are to be, in which Deployments, and who gets what share. Pure.

``decide`` calls me. A revision is a Pod template that was wanted once; its ControllerRevision keeps it whole, so that a
canary's other half, and a rollback, do not depend on what a Deployment happens to hold. Upstream's Knative rules, in
both modes: with ``canaryTrafficPercent`` below 100 the latest revision gets that much and the one that was rolled out
last the rest; only at 100 is a revision rolled out; less than 100 for one that is goes back to the one before it.

The rest runs in the component's own Deployment, the latest in a second one, ``...-canary``, which ends once the first
has caught up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from lightship.domains.serving import names, shapes
from lightship.domains.serving.inference_service import templates
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_REVISIONS = 10
"""Revisions kept of a component, beside those in use."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One template with its name and place in the history."""

    name: str
    number: int
    template: Object

    @property
    def digest(self) -> str:
        return templates.digest_of(self.template)


@dataclass(frozen=True, kw_only=True)
class Split:
    """``latest`` gets ``percent``; ``rest`` the rest, where there is one."""

    latest: Revision
    rest: Revision | None
    percent: int
    new: bool
    """``latest`` has no ControllerRevision yet."""


def read(objs: Sequence[Object], component: str) -> list[Revision]:
    """The component's revisions, the oldest first; what is not ours to read is passed over."""
    found = []
    for obj in objs:
        data, number = obj.get("data"), obj.get("revision")
        if objects.labels(obj).get(names.COMPONENT_LABEL) != component or not isinstance(data, dict):
            continue
        template = data.get("template")
        if isinstance(number, int) and isinstance(template, dict) and _readable(template):
            found.append(Revision(name=objects.name(obj), number=number, template=template))
    return sorted(found, key=lambda revision: revision.number)


def _readable(template: Object) -> bool:
    """Whether a template is one of ours: anybody who may change a ControllerRevision's owner could have written it."""
    try:
        msgspec.convert(template, _Template)
        shapes.check_pod(template["spec"])
    except msgspec.ValidationError:
        return False
    return bool(templates.digest_of(template) and template["spec"].get("containers"))


class _Metadata(msgspec.Struct):
    labels: dict[str, str]
    annotations: dict[str, str] | None = None


class _Template(msgspec.Struct):
    metadata: _Metadata
    spec: dict[str, Any]


def split(base: str, template: Object, revisions: Sequence[Revision], before: Mapping[str, Any],
          percent: int | None) -> Split:
    """Who gets what. ``before`` is the component's status; ``base`` begins revisions' names."""
    digest = templates.digest_of(template)
    latest = next((revision for revision in reversed(revisions) if revision.digest == digest), None)
    new = latest is None
    if latest is None:
        number = revisions[-1].number + 1 if revisions else 1
        latest = Revision(name=names.revision(base, number), number=number, template=template)
    if percent is None or percent >= 100:
        return Split(latest=latest, rest=None, percent=100, new=new)
    by_name = {revision.name: revision for revision in revisions}
    rolled = by_name.get(str(before.get("latestRolledoutRevision")))
    if rolled is not None and rolled.name == latest.name:
        rolled = by_name.get(str(before.get("previousRolledoutRevision")))
    if rolled is None or rolled.name == latest.name:
        return Split(latest=latest, rest=None, percent=100, new=new)
    return Split(latest=latest, rest=rolled, percent=percent, new=new)


def superfluous(revisions: Sequence[Revision], in_use: frozenset[str]) -> list[str]:
    """The names of revisions that need not be kept any longer."""
    idle = [revision.name for revision in revisions if revision.name not in in_use]
    return idle[:max(len(idle) - LIMIT_REVISIONS, 0)]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A revision's part of a component's traffic, and the Pods that serve it."""

    revision: str
    percent: int
    endpoints: tuple[str, ...]
    latest: bool = False
    tag: str = ""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Who is ready: endpoints of the latest revision, of the rest's, and of what ran before in the same Deployments.

    ``complete`` and ``rest_complete`` say that as many are ready as their Deployment asks for.
    """

    latest: tuple[str, ...]
    rest: tuple[str, ...]
    earlier: tuple[str, ...]
    earlier_name: str
    complete: bool
    rest_complete: bool


def shares(split: Split, serving: Serving) -> list[Share]:
    """How traffic goes now: as the split says once its Pods are ready, until then to whoever is."""
    mine = Share(revision=split.latest.name, percent=split.percent, endpoints=serving.latest, latest=True)
    if split.rest is None:
        if serving.complete or not serving.earlier:
            return [mine]
        return _by_number(mine, serving)
    rest = Share(revision=split.rest.name, percent=100 - split.percent, endpoints=serving.rest,
                 tag=names.PREVIOUS_TAG)
    if serving.rest_complete and (serving.latest or serving.complete):
        return [mine, rest]
    if serving.latest and not serving.rest_complete:
        # On the way back: the revision that is to have the rest is not there yet.
        return [replace(mine, percent=100), replace(rest, percent=0)]
    others = [replace(rest, percent=100)] if serving.rest_complete or not serving.earlier else _by_number(rest, serving)
    return [replace(mine, percent=0), *others]


def _by_number(share: Share, serving: Serving) -> list[Share]:
    """A revision and what ran before it, each by its number of ready Pods."""
    whole = len(share.endpoints) + len(serving.earlier)
    percent = 100 * len(share.endpoints) // whole
    return [replace(share, percent=percent), Share(revision=serving.earlier_name or EARLIER, percent=100 - percent,
                                                   endpoints=serving.earlier)]


EARLIER = "earlier"
"""What Pods of whatever ran before are called while a rolling update replaces them."""
