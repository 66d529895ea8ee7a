"""``x-kubernetes-validations``: a schema's CEL rules, compiled once and run over an object and its predecessor.

Pure; ``serving`` runs me over objects that are otherwise right, ``structural`` asks whether rules can be compiled.
Budgets bound what the rules of one object may cost together, and one rule alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightship.cluster.apiserver.crds import places
from lightship.cluster.apiserver.crds.places import ROOT, Place, SchemaFault, dotted, keys, shown
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import cel

LIMIT_RULE_STEPS = 200_000
"""What one rule may cost: some 0.1 s."""
LIMIT_OBJECT_STEPS = 1_000_000
LIMIT_MESSAGE_CHARACTERS = 5 * 1024
LIMIT_RULES = 100
"""Of one schema node."""

Schema = Mapping[str, Any]

_REASONS = ("FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate")
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule, ready to run."""

    source: str
    program: cel.Program
    message: str
    expression: cel.Program | None
    reason: str
    path: str
    optional_old: bool

    @property
    def transition(self) -> bool:
        return "oldSelf" in self.program.names


@dataclass(frozen=True, slots=True)
class _Node:
    """The rules at one place of a schema and below it."""

    kind: str
    rules: tuple[_Rule, ...]
    fields: Mapping[str, _Node]
    extra: _Node | None
    items: _Node | None
    list_keys: tuple[str, ...]


def compile(schema: Schema) -> Rules | None:
    """The rules of a whole schema that ``faults`` found right; None where it has none."""
    node = _node(schema, root=True)
    return Rules(node) if node is not None else None


def _node(schema: Any, root: bool = False) -> _Node | None:
    if not isinstance(schema, Mapping):
        return None
    found = tuple(_rule(rule, schema, root) for rule in (schema.get("x-kubernetes-validations") or ()))
    for arm in schema.get("allOf") or ():
        found += tuple(_rule(rule, schema, root) for rule in (arm.get("x-kubernetes-validations") or ()))
    fields = {name: node for name, inner in (schema.get("properties") or {}).items()
              if (node := _node(inner)) is not None}
    extra, items = _node(schema.get("additionalProperties")), _node(schema.get("items"))
    if not (found or fields or extra or items):
        return None
    return _Node(schema.get("type") or "", found, fields, extra, items,
                 tuple(schema.get("x-kubernetes-list-map-keys") or ()))


def _rule(rule: Mapping[str, Any], schema: Schema, root: bool) -> _Rule:
    own = cel.of_schema(schema, root)
    may_lack = bool(rule.get("optionalOldSelf"))
    names = {"self": own, "oldSelf": cel.Type("optional_type", own) if may_lack else own}
    expression = cel.compile(rule["messageExpression"], names, cel.STRING) if rule.get("messageExpression") else None
    text = rule.get("message") or f"failed rule: {' '.join(rule['rule'].split())}"
    return _Rule(rule["rule"], cel.compile(rule["rule"], names, cel.BOOL), text.strip(), expression,
                 rule.get("reason") or "", rule.get("fieldPath") or "", may_lack)


class Rules:
    """A schema's rules."""

    def __init__(self, node: _Node) -> None:
        self._node = node

    def faults(self, new: Any, old: Any) -> list[SchemaFault]:
        """The rules that do not hold for ``new``, the successor of ``old`` (None: it is new)."""
        run = _Run()
        run.walk(self._node, new, old, ROOT)
        return run.faults


class _Run:
    """The rules over one object."""

    def __init__(self) -> None:
        self.faults: list[SchemaFault] = []
        self._left = LIMIT_OBJECT_STEPS

    def walk(self, node: _Node, new: Any, old: Any, place: Place) -> None:
        if new is None or self._left < 0:
            return
        for rule in node.rules:
            if self._left >= 0 and not (rule.transition and old is None and not rule.optional_old):
                self._judge(rule, node, (new, old), place)
        if isinstance(new, dict) and (node.fields or node.extra):
            for name, value in new.items():
                below = node.fields.get(name, node.extra)
                if below is not None:
                    before = old.get(name) if isinstance(old, dict) else None
                    self.walk(below, value, before, (place, name))
        elif isinstance(new, list) and node.items is not None:
            for number, value in enumerate(new):
                _, before, known = places.follow(new, old, number, node.list_keys)
                self.walk(node.items, value, before if known else None, (place, number))

    def _judge(self, rule: _Rule, node: _Node, pair: tuple[Any, Any], place: Place) -> None:
        new, old = pair
        before: Any = cel.Optional(old, old is not None) if rule.optional_old else old
        variables = {"self": new, "oldSelf": before}
        try:
            holds, left = rule.program.run(variables, min(LIMIT_RULE_STEPS, self._left))
        except cel.BudgetExceeded as e:
            dear = self._left < LIMIT_RULE_STEPS
            self._left = -1
            self._add(rule, node, place, _OUT_OF_BUDGET if dear else
                      f"'{e}': no further validation rules will be run due to call cost exceeds limit for rule: "
                      f"{rule.source}")
            return
        except cel.CelError as e:
            told = (f"'{e}': call arguments did not match a supported operator, function or macro signature for rule: "
                    f"{rule.source}" if str(e).startswith("no such overload") else f"{e} evaluating rule: "
                    f"{rule.source}")
            self._add(rule, node, place, told)
            return
        self._left -= min(LIMIT_RULE_STEPS, self._left) - left
        if holds is not True:
            self._add(rule, node, place, self._message(rule, variables), told=True)

    def _message(self, rule: _Rule, variables: Mapping[str, Any]) -> str:
        if rule.expression is None:
            return rule.message
        try:
            text, _ = rule.expression.run(variables, LIMIT_RULE_STEPS)
        except cel.CelError:
            return rule.message  # As upstream: a message that cannot be made gives way to the fixed one.
        fits = isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= LIMIT_MESSAGE_CHARACTERS
        return str(text).strip() if fits else rule.message

    def _add(self, rule: _Rule, node: _Node, place: Place, message: str, *, told: bool = False) -> None:
        steps = keys(place)
        path = dotted(steps) + (rule.path if told else "")
        match rule.reason if told else "":
            case "FieldValueRequired":
                text = f"Required value: {message}"
            case "FieldValueForbidden":
                text = f"Forbidden: {message}"
            case "FieldValueDuplicate":
                text = f'Duplicate value: "{node.kind}"'
            case _:
                text = f'Invalid value: "{node.kind}": {message}'
        anchor = () if rule.transition else steps
        self.faults.append(SchemaFault(path.removeprefix("."), text, anchor, rule.transition))


def faults(schema: Schema, place: str, root: bool = False) -> Iterator[FieldFault]:
    """What is wrong with the rules at one node of a schema."""
    given: Sequence[Any] = schema.get("x-kubernetes-validations") or ()
    where = f"{place}.x-kubernetes-validations"
    if len(given) > LIMIT_RULES:
        yield FieldFault(where, f"Too many: {len(given)}: must have at most {LIMIT_RULES} items")
        return
    if given and not schema.get("type") and not schema.get("x-kubernetes-int-or-string"):
        yield FieldFault(where, "Forbidden: must not be specified where the type is not")
    for number, rule in enumerate(given):
        yield from _rule_faults(rule, schema, f"{where}[{number}]", root)


def _rule_faults(rule: Any, schema: Schema, where: str, root: bool) -> Iterator[FieldFault]:
    if not isinstance(rule, Mapping) or not all(
            isinstance(rule.get(name), str | None) for name in ("rule", "message", "messageExpression", "reason",
                                                                "fieldPath")):
        yield FieldFault(where, "Invalid value: must be an object with texts")
        return
    if not (rule.get("rule") or "").strip():
        yield FieldFault(f"{where}.rule", "Required value: rule is not specified")
        return
    message = rule.get("message")
    if message is not None and (not message.strip() or "\n" in message.strip()):
        yield FieldFault(f"{where}.message", f"Invalid value: {shown(message)}: must be a non-empty text of one line")
    elif message is None and "\n" in rule["rule"].strip():
        yield FieldFault(f"{where}.message", "Required value: message must be specified if rule contains line breaks")
    if rule.get("reason") and rule["reason"] not in _REASONS:
        yield FieldFault(f"{where}.reason", f"Unsupported value: {shown(rule['reason'])}: supported values: "
                                            + ", ".join(map(shown, sorted(_REASONS))))
    own = cel.of_schema(schema, root)
    old = cel.Type("optional_type", own) if rule.get("optionalOldSelf") else own
    for name, wanted in (("rule", cel.BOOL), ("messageExpression", cel.STRING)):
        if rule.get(name):
            try:
                cel.compile(rule[name], {"self": own, "oldSelf": old}, wanted)
            except cel.CompileError as e:
                yield FieldFault(f"{where}.{name}", f"Invalid value: {shown(rule[name])}: compilation failed: {e}")
    yield from _path_faults(rule.get("fieldPath"), schema, f"{where}.fieldPath")


def _path_faults(path: str | None, schema: Schema, where: str) -> Iterator[FieldFault]:
    """A field path leads to a field of the schema."""
    if path is None:
        return
    inner: Any = schema
    for step in path.removeprefix(".").replace("['", ".").replace("']", "").split("."):
        properties = inner.get("properties") or {} if isinstance(inner, Mapping) else {}
        inner = properties.get(step, inner.get("additionalProperties") if isinstance(inner, Mapping) else None)
    if not path.startswith((".", "[")) or not isinstance(inner, Mapping):
        yield FieldFault(where,
                         f"Invalid value: {shown(path)}: fieldPath must be a valid path: does not refer to a valid "
                                "field")
