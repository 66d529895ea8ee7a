"""How many replicas an autoscaler wants: from what Pods use to a number, within its rules. Pure; ``hpa`` calls me.

The arithmetic is upstream's: a tolerance about the target, Pods that are not ready or have no numbers yet counted
against the direction of the change, recommendations held over a window, and limits on how fast it may go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_TOLERANCE = 0.1
DOWN_WINDOW_SECONDS = 300.0
DEFAULT_UP: Mapping[str, Any] = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
    {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]}
DEFAULT_DOWN: Mapping[str, Any] = {"selectPolicy": "Max", "policies": [
    {"type": "Percent", "value": 100, "periodSeconds": 15}]}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A Pod of the target. Amounts in thousandths; ``used`` None: no numbers yet. ``ready`` as far as CPU goes."""

    used: int | None
    requested: int | None = None
    ready: bool = True


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What one metric asks for. ``reading`` is its value of the unit in which the target is set."""

    replicas: int
    reading: int
    average: int
    """The average a Pod, in thousandths."""


def utilization(members: Sequence[Member], current: int, percent: int, tolerance: tuple[float, float]
                ) -> Proposal | None:
    """By usage as a share of requests; None where no Pod has numbers."""
    seen = [member for member in members if member.used is not None and member.ready]
    if not seen:
        return None
    requested = sum(member.requested or 0 for member in seen)
    used = sum(member.used or 0 for member in seen)
    reading = used * 100 // requested if requested else 0
    average = used // len(seen)

    def ratio(padded: Sequence[Member]) -> float:
        whole = sum(member.requested or 0 for member in padded)
        return sum(member.used or 0 for member in padded) * 100 / whole / percent if whole else 1.0

    def full(member: Member) -> int:  # as much as is aimed at or asked for
        return (member.requested or 0) * max(100, percent) // 100

    return Proposal(replicas=_replicas(members, current, (ratio, full), tolerance), reading=reading, average=average)


def average_value(members: Sequence[Member], current: int, target: int, tolerance: tuple[float, float]
                  ) -> Proposal | None:
    """By usage a Pod; ``target`` in thousandths."""
    seen = [member for member in members if member.used is not None and member.ready]
    if not seen:
        return None
    average = sum(member.used or 0 for member in seen) // len(seen)

    def ratio(padded: Sequence[Member]) -> float:
        return sum(member.used or 0 for member in padded) / len(padded) / target if target else 1.0

    return Proposal(replicas=_replicas(members, current, (ratio, lambda member: target), tolerance), reading=average,
                    average=average)


_How = tuple[Callable[[Sequence[Member]], float], Callable[[Member], int]]
"""Usage over target of some Pods, and what a Pod without numbers is taken to use where the rest use little."""


def _replicas(members: Sequence[Member], current: int, how: _How, tolerance: tuple[float, float]) -> int:
    ratio_of, full = how
    seen = [member for member in members if member.used is not None and member.ready]
    missing = [member for member in members if member.used is None]
    unready = [member for member in members if member.used is not None and not member.ready]
    ratio = ratio_of(seen)
    if not missing and not (unready and ratio > 1.0):
        return current if _tolerable(ratio, tolerance) else math.ceil(round(ratio * len(seen), 9))
    padded = list(seen)
    if ratio < 1.0:
        padded += [Member(used=full(member), requested=member.requested) for member in missing]
    elif ratio > 1.0:
        padded += [Member(used=0, requested=member.requested) for member in (*missing, *unready)]
    again = ratio_of(padded)
    if _tolerable(again, tolerance) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current
    wanted = math.ceil(round(again * len(padded), 9))
    if (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current):
        return current
    return wanted


def _tolerable(ratio: float, tolerance: tuple[float, float]) -> bool:
    up, down = tolerance
    return 1.0 - down <= ratio <= 1.0 + up


@dataclass(kw_only=True)
class History:
    """What an autoscaler wanted and did of late: ``(second, replicas)``, and changes by direction."""

    wanted: list[tuple[float, int]] = field(default_factory=list)
    ups: list[tuple[float, int]] = field(default_factory=list)
    downs: list[tuple[float, int]] = field(default_factory=list)

    def forget(self, before: float) -> None:
        for entries in (self.wanted, self.ups, self.downs):
            entries[:] = [entry for entry in entries if entry[0] >= before]

    def changed(self, now: float, old: int, new: int) -> None:
        (self.ups if new > old else self.downs).append((now, abs(new - old)))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The number, and the conditions about how it came: type to (status, reason, message)."""

    replicas: int
    able: tuple[str, str]
    limited: tuple[bool, str, str]


def rules(spec: Mapping[str, Any], way: str) -> Mapping[str, Any]:
    default = DEFAULT_UP if way == "scaleUp" else DEFAULT_DOWN
    given = (spec.get("behavior") or {}).get(way) or {}
    return {**default, **{key: value for key, value in given.items() if value is not None}}


def tolerance(spec: Mapping[str, Any]) -> tuple[float, float]:
    """How far from the target is near enough: (up, down)."""
    up, down = (float(rules(spec, way).get("tolerance") or DEFAULT_TOLERANCE) for way in ("scaleUp", "scaleDown"))
    return up, down


def settle(spec: Mapping[str, Any], current: int, wanted: int, now: float, history: History) -> Verdict:
    """``wanted`` held over the windows, slowed by the policies and kept within the limits. Notes it in ``history``."""
    up, down = rules(spec, "scaleUp"), rules(spec, "scaleDown")
    up_window = float(up.get("stabilizationWindowSeconds") or 0)
    given = down.get("stabilizationWindowSeconds")
    down_window = DOWN_WINDOW_SECONDS if given is None else float(given)
    highest = max([wanted, *(n for at, n in history.wanted if at > now - down_window)])
    lowest = min([wanted, *(n for at, n in history.wanted if at > now - up_window)])
    history.wanted.append((now, wanted))
    stable = min(max(current, lowest), highest)
    able = ("ReadyForNewScale", "recommended size matches current size")
    if stable != wanted:
        able = (("ScaleDownStabilized", "recent recommendations were higher than current one, using the highest recent "
                 "recommendation") if stable > wanted else
                ("ScaleUpStabilized", "recent recommendations were lower than current one, using the lowest recent "
                 "recommendation"))
    low, high = int(spec.get("minReplicas") or 1), int(spec.get("maxReplicas") or 1)
    fastest = _fastest(up, current, now, history, sign=1)
    slowest = _fastest(down, current, now, history, sign=-1)
    limited = (False, "DesiredWithinRange", "the desired count is within the acceptable range")
    result = stable
    if stable > current and stable > min(fastest, high):
        result = max(current, min(fastest, high))
        limited = ((True, "TooManyReplicas", "the desired replica count is more than the maximum replica count")
                   if high <= fastest else
                   (True, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"))
    elif stable < current and stable < max(slowest, low):
        result = min(current, max(slowest, low))
        limited = ((True, "TooFewReplicas", "the desired replica count is less than the minimum replica count")
                   if low >= slowest else
                   (True, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale "
                                            "rate"))
    elif stable > high:
        result, limited = high, (True, "TooManyReplicas",
                                 "the desired replica count is more than the maximum replica count")
    elif stable < low:
        result, limited = low, (True, "TooFewReplicas",
                                "the desired replica count is less than the minimum replica count")
    return Verdict(replicas=result, able=able, limited=limited)


def _fastest(rule: Mapping[str, Any], current: int, now: float, history: History, *, sign: int) -> int:
    """How far the policies let it go now."""
    select = rule.get("selectPolicy") or "Max"
    if select == "Disabled":
        return current
    found = []
    for policy in rule.get("policies") or ():
        since = now - float(policy.get("periodSeconds") or 15)
        added = sum(n for at, n in history.ups if at > since)
        removed = sum(n for at, n in history.downs if at > since)
        start = current - added if sign > 0 else current + removed
        start += removed if sign > 0 else -added
        value = int(policy.get("value") or 0)
        if policy.get("type") == "Pods":
            found.append(start + sign * value)
        elif sign > 0:
            found.append(math.ceil(start * (1 + value / 100)))
        else:
            found.append(int(start * (1 - value / 100)))
    if not found:
        return current
    return (max(found) if select == "Max" else min(found)) if sign > 0 else (
        min(found) if select == "Max" else max(found))
