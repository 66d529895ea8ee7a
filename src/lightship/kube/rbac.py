"""RBAC's vocabulary without I/O: how aggregated ClusterRoles get their rules, and whose user a ServiceAccount is.

I am pure. The API server's bootstrap and the controller that keeps aggregated roles call me.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightship.kube import objects, selectors

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def is_aggregated(role: Mapping[str, Any]) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def aggregated_rules(role: Mapping[str, Any], roles: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules of all ClusterRoles that ``role`` selects, in the order of selectors and names, each once."""
    ordered = sorted(roles, key=objects.name)
    found: list[dict[str, Any]] = []
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        chosen = selectors.from_object(selector)
        for other in ordered:
            if objects.name(other) != objects.name(role) and chosen.matches(objects.labels(other)):
                found += [rule for rule in other.get("rules") or () if rule not in found]
    return found


def uncovered(wanted: Iterable[dict[str, Any]], present: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules of ``wanted`` that ``present`` lacks, literally: what a reconciliation adds."""
    return [rule for rule in wanted if rule not in present]
