"""Expressions checked and turned into closures over JSON data. Pure; rules and policies call ``compile``.

``operators`` says what the operators do, ``macros`` has the loops, ``library`` the functions. Types are checked as far
as they are known (a schema tells most); what is not known is found out when it runs. Every step of an evaluation is
paid from its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.kube.cel import library, macros, operators, syntax, values
from lightship.kube.cel.errors import BudgetExceeded, CelError, CompileError
from lightship.kube.cel.frames import Eval, Frame, Meter
from lightship.kube.cel.functions import Function
from lightship.kube.cel.syntax import Node, Uint
from lightship.kube.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    NULL,
    STRING,
    UINT,
    Type,
    lifter,
    list_of,
    of_schema,
    optional,
    unescaped,
)

Typed = tuple[Eval, Type]

_LITERALS: dict[type, Type] = {bool: BOOL, int: INT, float: DOUBLE, str: STRING, bytes: BYTES, type(None): NULL,
                               Uint: UINT}
_TYPE_NAMES = {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type",
               "google.protobuf.Timestamp", "google.protobuf.Duration"}
_NO_FUNCTIONS: Mapping[str, Function] = {}
_BINARY = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_", "_<_", "_<=_", "_>_", "_>=_"})


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression. ``names`` is the variables that it reads."""

    source: str
    result: Type
    names: frozenset[str]
    _eval: Eval

    def run(self, variables: Mapping[str, Any], budget: int) -> tuple[Any, int]:
        """The value, and what is left of the budget. Raises ``CelError``; ``BudgetExceeded`` where it is too dear."""
        frame = Frame(dict(variables), Meter(budget))
        try:
            return self._eval(frame), frame.meter.left
        except RecursionError as e:
            raise BudgetExceeded("operation cancelled: actual cost limit exceeded") from e
        except (TypeError, ValueError, AttributeError, OverflowError, ArithmeticError, KeyError, IndexError) as e:
            raise CelError(f"no such overload: {type(e).__name__}: {e}") from e


def compile(source: str, variables: Mapping[str, Type], wanted: Type = DYN, *,
            functions: Mapping[str, Function] = _NO_FUNCTIONS) -> Program:
    """The program of ``source`` over these variables, with further ``functions``. Raises ``CompileError``."""
    compiler = Compiler(source, variables, functions)
    tree = syntax.parse(source)
    try:
        evaluate, result = compiler.node(tree, Scope({}))
    except RecursionError as e:
        raise CompileError("expression is nested too deeply", 0, source) from e
    if not wanted.fits(result):
        raise CompileError(f"cel expression must evaluate to a {wanted}")
    return Program(source, result, frozenset(compiler.read), evaluate)


@dataclass(frozen=True, slots=True)
class Scope:
    """The variables that loops have bound here."""

    bound: Mapping[str, Type]

    def binding(self, **names: Type) -> Scope:
        return Scope({**self.bound, **names})


class Compiler:
    """One expression's."""

    def __init__(self, source: str, variables: Mapping[str, Type], functions: Mapping[str, Function]) -> None:
        self._source, self._variables, self._functions = source, variables, functions
        self.read: set[str] = set()

    def error(self, node: Node, message: str) -> CompileError:
        return CompileError(message, node.position, self._source)

    def node(self, node: Node, scope: Scope) -> Typed:
        match node.kind:
            case "literal":
                value = node.value
                return (lambda frame: value), _LITERALS[type(value)]
            case "name":
                return self._name(node, scope)
            case "select":
                return self._select(node, scope)
            case "index":
                return self._index(node, scope)
            case "list":
                return self._list(node, scope)
            case "map":
                return self._map(node, scope)
        return self._call(node, scope)

    def _name(self, node: Node, scope: Scope) -> Typed:
        name = node.value
        if name in scope.bound:
            return (lambda frame: frame.names[name]), scope.bound[name]
        if name in self._variables:
            self.read.add(name)
            lift = lifter(self._variables[name])
            if lift is None:
                return (lambda frame: frame.names[name]), self._variables[name]
            return (lambda frame: lift(frame.names[name])), self._variables[name]
        if name in _TYPE_NAMES:
            value = values.TypeValue(name)
            return (lambda frame: value), Type("type")
        raise self.error(node, f"undeclared reference to '{name}' (in container '')")

    def _select(self, node: Node, scope: Scope) -> Typed:
        dotted = _dotted(node)
        if dotted in _TYPE_NAMES:
            value = values.TypeValue(dotted)
            return (lambda frame: value), Type("type")
        inner, kind = self.node(node.parts[0], scope)
        chained, below = kind.name == "optional_type", kind
        if chained:
            below = kind.item or DYN
        name, result = self._field(node, below)
        lift = lifter(result)
        if node.optional or chained:
            return _picker(inner, lambda frame: name, lift), optional(result)
        return _selector(inner, name, lift), result

    def _field(self, node: Node, kind: Type) -> tuple[str, Type]:
        """The key and the type of a field that is selected."""
        name: str = node.value
        if kind.name == "map":
            return name, kind.item or DYN
        if kind.name == "object" and kind.schema is not None:
            properties = kind.schema.get("properties") or {}
            for candidate in (unescaped(name), name):
                if candidate in properties:
                    return candidate, of_schema(properties[candidate])
            raise self.error(node, f"undefined field '{name}'")
        if kind.name != "dyn":
            raise self.error(node, f"type '{kind}' does not support field selection")
        return name, DYN

    def _index(self, node: Node, scope: Scope) -> Typed:
        inner, kind = self.node(node.parts[0], scope)
        key, _ = self.node(node.parts[1], scope)
        chained = kind.name == "optional_type"
        below = (kind.item or DYN) if chained else kind
        if below.name not in ("dyn", "list", "map", "object"):
            raise self.error(node, f"found no matching overload for '_[_]' applied to '({kind}, ...)'")
        result = below.item or DYN
        lift = lifter(result)
        if node.optional or chained:
            return _picker(inner, key, lift), optional(result)

        def evaluate(frame: Frame) -> Any:
            frame.spend(1)
            value = operators.index(inner(frame), key(frame))
            return lift(value) if lift else value

        return evaluate, result

    def _list(self, node: Node, scope: Scope) -> Typed:
        made = [self.node(part, scope) for part in node.parts]
        evals = [(evaluate, number in node.optionals) for number, (evaluate, _) in enumerate(made)]
        kinds = {str(kind): kind for _, kind in made}

        def evaluate(frame: Frame) -> Any:
            frame.spend(len(evals) + 10)
            result = []
            for one, may_lack in evals:
                value = one(frame)
                if not may_lack:
                    result.append(value)
                elif value.present:
                    result.append(value.value)
            return result

        return evaluate, list_of(next(iter(kinds.values())) if len(kinds) == 1 and not node.optionals else DYN)

    def _map(self, node: Node, scope: Scope) -> Typed:
        made = [self.node(part, scope) for part in node.parts]
        pairs = [(made[at][0], made[at + 1][0], at in node.optionals) for at in range(0, len(made), 2)]

        def evaluate(frame: Frame) -> Any:
            frame.spend(len(pairs) + 30)
            result = {}
            for key, value, may_lack in pairs:
                name, content = key(frame), value(frame)
                if not may_lack:
                    result[name] = content
                elif content.present:
                    result[name] = content.value
            return result

        return evaluate, Type("map", DYN)

    def _call(self, node: Node, scope: Scope) -> Typed:
        macro = macros.find(node)
        if macro is not None:
            return macro(self, node, scope)
        name, parts = node.value, node.parts
        if node.method:
            dotted = f"{_dotted(parts[0])}.{name}"
            if dotted in library.FUNCTIONS:
                name, parts = dotted, parts[1:]
        arguments = [self.node(part, scope) for part in parts]
        if name in operators.LAZY:
            return operators.LAZY[name](arguments), self._logical(node, name, [kind for _, kind in arguments])
        if name in operators.EAGER:
            kinds = [kind for _, kind in arguments]
            return _applied(operators.EAGER[name], [one for one, _ in arguments]), self._operated(node, name, kinds)
        function = library.FUNCTIONS.get(name) or self._functions.get(name)
        if function is None:
            raise self.error(node, f"undeclared reference to '{name}' (in container '')")
        if not function.least <= len(arguments) <= function.most:
            raise self.error(node, f"found no matching overload for '{name}' applied to {_listed(arguments)}")
        return _applied(function.call, [one for one, _ in arguments]), self._result(function, arguments)

    def _result(self, function: Any, arguments: list[Typed]) -> Type:
        if function.result is DYN and arguments and function in library.KEEPING:
            return arguments[0][1]
        if function in library.PICKING and arguments:
            return arguments[0][1].item or DYN
        result: Type = function.result
        return result

    def _logical(self, node: Node, name: str, kinds: list[Type]) -> Type:
        tested = kinds[:1] if name == "_?_:_" else kinds
        if any(not BOOL.fits(kind) for kind in tested):
            raise self.error(node, f"found no matching overload for '{name}' applied to '({_joined(kinds)})'")
        if name != "_?_:_":
            return BOOL
        if not kinds[1].fits(kinds[2]):
            raise self.error(node, f"found no matching overload for '{name}' applied to '({_joined(kinds)})'")
        return kinds[1] if kinds[1] == kinds[2] else DYN

    def _operated(self, node: Node, name: str, kinds: list[Type]) -> Type:
        if not operators.fit(name, kinds):
            raise self.error(node, f"found no matching overload for '{name}' applied to '({_joined(kinds)})'")
        if name not in _BINARY or name in ("_<_", "_<=_", "_>_", "_>=_"):
            return kinds[0] if name == "-_" else BOOL
        left, right = kinds
        return left if left == right else DYN


def _applied(function: Callable[..., Any], arguments: list[Eval]) -> Eval:
    """A call that is paid by the sizes of what it looks at."""
    if len(arguments) == 1:
        only = arguments[0]

        def unary(frame: Frame) -> Any:
            value = only(frame)
            frame.spend(1 if not isinstance(value, str | list | dict) else 1 + len(value) // 10)
            return function(value)

        return unary

    def call(frame: Frame) -> Any:
        given = [argument(frame) for argument in arguments]
        frame.spend(1 + sum(values.size_of(value) for value in given if isinstance(value, str | list | dict)))
        return function(*given)

    return call


def _selector(inner: Eval, name: str, lift: Callable[[Any], Any] | None) -> Eval:
    def evaluate(frame: Frame) -> Any:
        frame.spend(1)
        value = inner(frame)
        if type(value) is not dict:
            raise CelError(f"no such overload: {values.type_name(value)}.{name}")
        if name not in value:
            raise CelError(f"no such key: {name}")
        return lift(value[name]) if lift else value[name]

    return evaluate


def _picker(inner: Eval, key: Eval, lift: Callable[[Any], Any] | None) -> Eval:
    """``a.?b`` and ``a[?b]``: what is missing is no error."""
    def evaluate(frame: Frame) -> Any:
        frame.spend(1)
        value = inner(frame)
        if isinstance(value, values.Optional):
            if not value.present:
                return value
            value = value.value
        name = key(frame)
        if isinstance(value, dict):
            found = name in value
        elif isinstance(value, list) and isinstance(name, int):
            found = 0 <= name < len(value)
        else:
            raise CelError(f"no such overload: {values.type_name(value)}[?_]")
        return values.Optional(lift(value[name]) if lift else value[name], True) if found else values.NONE

    return evaluate


def _dotted(node: Node) -> str:
    """``a.b.c`` of plain names; empty for anything else."""
    if node.kind == "name":
        return str(node.value)
    if node.kind == "select" and not node.optional:
        before = _dotted(node.parts[0])
        return f"{before}.{node.value}" if before else ""
    return ""


def _joined(kinds: Iterable[Type]) -> str:
    return ", ".join(map(str, kinds))


def _listed(arguments: list[Typed]) -> str:
    return f"'({_joined(kind for _, kind in arguments)})'"
