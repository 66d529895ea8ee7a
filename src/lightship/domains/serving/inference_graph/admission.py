"""What an InferenceGraph must be to be accepted: upstream's rules, and no way in a circle. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from lightship.domains.furniture import FieldError
from lightship.domains.serving import fields
from lightship.domains.serving.inference_graph import types
from lightship.kube import objects
from lightship.kube.objects import Object

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LIMIT_NAME_CHARACTERS = 63
LIMIT_STEPS = 256
"""Of all nodes together."""
LIMIT_DEPTH = 32
"""Nodes in a row; the router follows no more."""


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a graph."""
    found: list[FieldError] = []
    name = objects.name(obj)
    if name and (not _NAME.fullmatch(name) or len(name) > LIMIT_NAME_CHARACTERS):
        found.append(FieldError(path="metadata.name", message=f'"{name}" must be lower case letters, digits and "-", '
                                f"starting with a letter, at most {LIMIT_NAME_CHARACTERS} characters"))
    try:
        spec = types.parse(obj)
    except msgspec.ValidationError as problem:
        return (*found, fields.error_of(problem, "spec"))
    if types.ROOT not in spec.nodes:
        found.append(FieldError(path="spec.nodes", message='a node with the name "root" is required: the graph begins '
                                                           "there"))
    if sum(len(node.steps) for node in spec.nodes.values()) > LIMIT_STEPS:
        found.append(FieldError(path="spec.nodes", message=f"at most {LIMIT_STEPS} steps in all"))
        return found
    for node_name, node in spec.nodes.items():
        found += _node(f"spec.nodes[{node_name}]", node, spec.nodes)
    if not found:
        found += _paths(spec.nodes)
    low, high = spec.min_replicas, spec.max_replicas
    if low is not None and low < 0:
        found.append(FieldError(path="spec.minReplicas", message="must be 0 or more"))
    if low and high and low > high:
        found.append(FieldError(path="spec.maxReplicas", message=f"must be minReplicas ({low}) or more, or 0"))
    return found


def _node(path: str, node: types.Node, nodes: Mapping[str, types.Node]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for place, step in enumerate(node.steps):
        here = f"{path}.steps[{place}]"
        if step.name and step.name in seen:
            yield FieldError(path=f"{here}.name", message=f'another step of the node has the name "{step.name}"')
        seen.add(step.name)
        given = [name for name, value in (("nodeName", step.node_name), ("serviceName", step.service_name),
                                          ("serviceUrl", step.service_url)) if value]
        if len(given) != 1:
            what = f"got {', '.join(given)}" if given else "got none"
            yield FieldError(path=here, message=f"exactly one of nodeName, serviceName and serviceUrl is required; "
                                                f"{what}")
        if step.node_name and step.node_name not in nodes:
            yield FieldError(path=f"{here}.nodeName", message=f'there is no node "{step.node_name}"')
        if node.router_type == types.SPLITTER and (step.weight is None or step.weight < 0):
            yield FieldError(path=f"{here}.weight", message="a splitter's step needs a weight of 0 or more")
    weights = [step.weight or 0 for step in node.steps]
    if node.router_type == types.SPLITTER and sum(weights) != 100:
        yield FieldError(path=f"{path}.steps",
                         message=f"the weights of a splitter must sum up to 100, not {sum(weights)}")


def _paths(nodes: Mapping[str, types.Node]) -> Iterator[FieldError]:
    """No node may lead to itself, and none too deep: each node is looked at once, after those that it leads to."""
    heights: dict[str, int] = {}
    for start in nodes:
        stack: list[tuple[str, Iterator[str]]] = [(start, _below(nodes[start]))] if start not in heights else []
        while stack:
            name, rest = stack[-1]
            following = next((other for other in rest if other not in heights), None)
            if following is None:
                stack.pop()
                heights[name] = 1 + max((heights[other] for other in _below(nodes[name])), default=0)
            elif any(following == above for above, _ in stack):
                circle = [*(above for above, _ in stack), following]
                yield FieldError(path="spec.nodes", message="the graph leads in a circle: " + " -> ".join(
                    circle[circle.index(following):]))
                return
            else:
                stack.append((following, _below(nodes[following])))
    if max(heights.values(), default=0) > LIMIT_DEPTH:
        yield FieldError(path="spec.nodes", message=f"the graph is more than {LIMIT_DEPTH} nodes deep")


def _below(node: types.Node) -> Iterator[str]:
    return (step.node_name for step in node.steps if step.node_name)
