"""Rules about labels: of nodes (selectors, affinity), and of Pods beside which a Pod wants to be, or not. Pure.

``filters`` and ``scores`` call me.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lightship import errors
from lightship.cluster.builtin.scheduling.facts import Landscape, NodeFacts, PodFacts
from lightship.kube import selectors

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
Term = Mapping[str, Any]


def node_matches(pod: PodFacts, node: NodeFacts) -> bool:
    """The Pod's ``nodeSelector`` and required node affinity."""
    chosen = pod.spec.get("nodeSelector") or {}
    if not chosen.items() <= node.labels.items():
        return False
    required = ((pod.spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    return required is None or selector_matches(required, node)


def selector_matches(selector: Mapping[str, Any], node: NodeFacts) -> bool:
    """A NodeSelector: any of its terms."""
    return any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


def term_matches(term: Term, node: NodeFacts) -> bool:
    """All of a term's expressions and fields; an empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return (all(_expression(expression, node.labels) for expression in expressions)
            and all(_expression(expression, {"metadata.name": node.name}) for expression in fields))


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(str(expression.get("key"))), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                number, bound = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return number > bound if expression["operator"] == "Gt" else number < bound
    return False


def pod_terms(pod: PodFacts, kind: str) -> list[Term]:
    """The required terms of ``podAffinity`` or ``podAntiAffinity``."""
    return list(((pod.spec.get("affinity") or {}).get(kind) or {}).get(REQUIRED) or ())


def preferred_pod_terms(pod: PodFacts, kind: str) -> list[Mapping[str, Any]]:
    return list(((pod.spec.get("affinity") or {}).get(kind) or {}).get(PREFERRED) or ())


def term_selects(term: Term, owner: PodFacts, land: Landscape) -> Callable[[PodFacts], bool]:
    """Whether a Pod is one of those that ``owner``'s term is about."""
    selector = _selector(term, owner)
    inside = _namespaces(term, owner, land)

    def selects(pod: PodFacts) -> bool:
        return selector is not None and inside(pod.key.namespace) and selector.matches(pod.labels)

    return selects


def _selector(term: Term, owner: PodFacts) -> selectors.LabelSelector | None:
    given = term.get("labelSelector")
    if given is None:
        return None
    matched = {key: owner.labels[key] for key in term.get("matchLabelKeys") or () if key in owner.labels}
    wanted = dict(given) | {"matchLabels": (given.get("matchLabels") or {}) | matched}
    unlike = [{"key": key, "operator": "NotIn", "values": [owner.labels[key]]}
              for key in term.get("mismatchLabelKeys") or () if key in owner.labels]
    if unlike:
        wanted["matchExpressions"] = [*(given.get("matchExpressions") or ()), *unlike]
    try:
        return selectors.from_object(wanted)
    except errors.LightshipError:
        return None  # a selector that no server should have accepted chooses nobody


def _namespaces(term: Term, owner: PodFacts, land: Landscape) -> Callable[[str], bool]:
    named = frozenset(term.get("namespaces") or ())
    chooser = term.get("namespaceSelector")
    if chooser is None:
        allowed = named or frozenset((owner.key.namespace,))
        return allowed.__contains__
    try:
        selector = selectors.from_object(chooser)
    except errors.LightshipError:
        return named.__contains__
    return lambda name: name in named or selector.matches(land.namespace_labels.get(name, {}))


def domains_with(term: Term, owner: PodFacts, land: Landscape) -> set[str]:
    """The values of the term's topology key under which a Pod is that it is about."""
    selects, key = term_selects(term, owner, land), str(term.get("topologyKey"))
    return {node.labels[key] for node, pod in land.placed() if key in node.labels and selects(pod)}


def beside(pod: PodFacts, land: Landscape) -> Callable[[NodeFacts], bool]:
    """Whether a node is where the Pod's required affinity wants it. The first of a group that wants to be together
    may go anywhere that has the topology's label."""
    terms = pod_terms(pod, "podAffinity")
    found = [(str(term.get("topologyKey")), domains_with(term, pod, land)) for term in terms]
    first = bool(terms) and not any(domains for _, domains in found) and all(
        term_selects(term, pod, land)(pod) for term in terms)

    def suits(node: NodeFacts) -> bool:
        if first:
            return all(key in node.labels for key, _ in found)
        return all(node.labels.get(key) in domains for key, domains in found if key) if terms else True

    return suits


def apart(pod: PodFacts, land: Landscape) -> Callable[[NodeFacts], bool]:
    """Whether a node is away from those that the Pod's required anti-affinity is about."""
    found = [(str(term.get("topologyKey")), domains_with(term, pod, land)) for term in pod.anti_terms]
    return lambda node: not any(node.labels.get(key) in domains for key, domains in found if key in node.labels)


def welcome(pod: PodFacts, land: Landscape) -> Callable[[NodeFacts], bool]:
    """Whether nobody who is there already keeps the Pod away."""
    closed: set[tuple[str, str]] = set()
    for node in land.nodes.values():
        for other in node.guarded.values():
            for term in other.anti_terms:
                key = str(term.get("topologyKey"))
                if key in node.labels and term_selects(term, other, land)(pod):
                    closed.add((key, node.labels[key]))
    return lambda node: not any(node.labels.get(key) == value for key, value in closed)


def spread_obstacle(pod: PodFacts, land: Landscape) -> Callable[[NodeFacts], str]:
    """Which rule of ``topologySpreadConstraints`` a node would break: "", "skew" or "label"."""
    rules = [_Spread(rule, pod, land) for rule in pod.spec.get("topologySpreadConstraints") or ()
             if rule.get("whenUnsatisfiable") != "ScheduleAnyway"]

    def obstacle(node: NodeFacts) -> str:
        return next((found for rule in rules if (found := rule.obstacle(node))), "")

    return obstacle


def spread_counts(pod: PodFacts, land: Landscape) -> Sequence[Callable[[NodeFacts], int]]:
    """For the rules that only wish: how many of its kind are in a node's domain."""
    return [_Spread(rule, pod, land).count for rule in pod.spec.get("topologySpreadConstraints") or ()
            if rule.get("whenUnsatisfiable") == "ScheduleAnyway"]


class _Spread:
    """One constraint, counted over the landscape."""

    def __init__(self, rule: Mapping[str, Any], pod: PodFacts, land: Landscape) -> None:
        self._key = str(rule.get("topologyKey"))
        self._skew = int(rule.get("maxSkew") or 1)
        selects = term_selects({key: rule[key] for key in ("labelSelector", "matchLabelKeys") if key in rule}, pod,
                               land)
        eligible = [node for node in land.nodes.values() if self._eligible(rule, pod, node)]
        self._counts = {node.labels[self._key]: 0 for node in eligible}
        for node in eligible:
            self._counts[node.labels[self._key]] += sum(1 for other in node.pods.values() if selects(other))
        few = len(self._counts) < int(rule.get("minDomains") or 1)
        self._least = 0 if few else min(self._counts.values(), default=0)
        self._self = 1 if selects(pod) else 0

    def _eligible(self, rule: Mapping[str, Any], pod: PodFacts, node: NodeFacts) -> bool:
        honour = rule.get("nodeAffinityPolicy", "Honor") == "Honor"
        return self._key in node.labels and (not honour or node_matches(pod, node))

    def obstacle(self, node: NodeFacts) -> str:
        value = node.labels.get(self._key)
        if value is None:
            return "label"
        return "skew" if self.count(node) + self._self - self._least > self._skew else ""

    def count(self, node: NodeFacts) -> int:
        return self._counts.get(str(node.labels.get(self._key)), 0)


def tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
