"""CEL's macros: ``has``, the loops and ``cel.bind``, whose arguments are not evaluated before the call.

Pure; ``compile`` asks me first what a call is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lightship.kube.cel import values
from lightship.kube.cel.errors import BudgetExceeded, CelError, CompileError
from lightship.kube.cel.frames import Eval, Frame
from lightship.kube.cel.syntax import Node
from lightship.kube.cel.types import BOOL, DYN, INT, STRING, Type, lifter, list_of, optional


class Scope(Protocol):
    def binding(self, **names: Type) -> Any: ...


class Compiler(Protocol):
    def node(self, node: Node, scope: Any) -> tuple[Eval, Type]: ...

    def error(self, node: Node, message: str) -> CompileError: ...


Macro = Callable[[Any, Node, Any], tuple[Eval, Type]]

LOOP_COST = 3
"""What each round of a loop costs besides its body."""


def find(node: Node) -> Macro | None:
    """The macro that a call is, if it is one."""
    if not node.method:
        return _has if node.value == "has" and len(node.parts) == 1 else None
    if node.value == "bind" and node.parts[0] == Node("name", node.parts[0].position, "cel") and len(node.parts) == 4:
        return _bind
    found = _LOOPS.get(node.value)
    return found[1] if found and len(node.parts) - 1 in found[0] and node.parts[1].kind == "name" else None


def _has(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    field = node.parts[0]
    if field.kind != "select" or field.optional:
        raise compiler.error(node, "invalid argument to has() macro")
    compiler.node(field, scope)  # for the check that there may be such a field
    picked, _ = compiler.node(Node("select", field.position, field.value, field.parts, optional=True), scope)

    def evaluate(frame: Frame) -> bool:
        found: values.Optional = picked(frame)
        return found.present

    return evaluate, BOOL


def _bind(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    _, variable, value, body = node.parts
    name = _name(compiler, variable)
    bound, kind = compiler.node(value, scope)
    inner, result = compiler.node(body, scope.binding(**{name: kind}))

    def evaluate(frame: Frame) -> Any:
        return inner(Frame({**frame.names, name: bound(frame)}, frame.meter))

    return evaluate, result


def _name(compiler: Compiler, node: Node) -> str:
    if node.kind != "name":
        raise compiler.error(node, "argument must be a simple name")
    return str(node.value)


class _Loop:
    """What all loops share: what is looped over, the names, and a body for each round."""

    def __init__(self, compiler: Compiler, node: Node, scope: Scope, names: int) -> None:
        self.range, kind = compiler.node(node.parts[0], scope)
        if kind.name not in ("dyn", "list", "map", "object"):
            raise compiler.error(node, f"expression of type '{kind}' cannot be range of a comprehension (must be list, "
                                       "map, or dynamic)")
        self.names = [_name(compiler, part) for part in node.parts[1:1 + names]]
        item = kind.item or DYN
        keyed = kind.name in ("map", "object")
        key = STRING if keyed else INT if kind.name == "list" else DYN
        kinds = [key, item] if names == 2 else [key if keyed else item]
        self.item, self.key = item, keyed
        inner = scope.binding(**dict(zip(self.names, kinds, strict=True)))
        self.bodies = [compiler.node(part, inner) for part in node.parts[1 + names:]]
        self._lift = lifter(item)

    def rounds(self, frame: Frame) -> Iterator[tuple[Frame, Any]]:
        """A frame for each round, with the value (or key of a map) that it is about."""
        over = self.range(frame)
        if not isinstance(over, list | dict):
            raise CelError(f"no such overload: range of {values.type_name(over)}")
        inner = Frame(dict(frame.names), frame.meter)
        two = len(self.names) == 2
        for number, one in enumerate(over):
            inner.spend(LOOP_COST)
            content = over[one] if isinstance(over, dict) else one
            if self._lift is not None and (two or not isinstance(over, dict)):
                content = self._lift(content)
            if two:
                inner.names[self.names[0]] = one if isinstance(over, dict) else number
                inner.names[self.names[1]] = content
            else:
                inner.names[self.names[0]] = one if isinstance(over, dict) else content
            yield inner, one if isinstance(over, dict) else (number if two else content)


def _quantified(stop: bool) -> Macro:
    """``all`` ends at the first false, ``exists`` at the first true; an error counts only where neither came."""
    def macro(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
        loop = _Loop(compiler, node, scope, len(node.parts) - 2)
        body, kind = loop.bodies[0]
        if not BOOL.fits(kind):
            raise compiler.error(node.parts[-1], f"expected type 'bool' but found '{kind}'")

        def evaluate(frame: Frame) -> Any:
            failed: CelError | None = None
            for inner, _ in loop.rounds(frame):
                try:
                    if body(inner) is stop:
                        return stop
                except BudgetExceeded:
                    raise
                except CelError as e:
                    failed = failed or e
            if failed is not None:
                raise failed
            return not stop

        return evaluate, BOOL

    return macro


def _exists_one(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    loop = _Loop(compiler, node, scope, len(node.parts) - 2)
    body = loop.bodies[0][0]
    return (lambda frame: sum(1 for inner, _ in loop.rounds(frame) if body(inner) is True) == 1), BOOL


def _filter(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    loop = _Loop(compiler, node, scope, 1)
    body = loop.bodies[0][0]
    kind = list_of(STRING if loop.key else loop.item)
    return (lambda frame: [value for inner, value in loop.rounds(frame) if body(inner) is True]), kind


def _map(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    loop = _Loop(compiler, node, scope, 1)
    body, kind = loop.bodies[-1]
    if len(loop.bodies) == 1:
        return (lambda frame: [body(inner) for inner, _ in loop.rounds(frame)]), list_of(kind)
    test = loop.bodies[0][0]
    return (lambda frame: [body(inner) for inner, _ in loop.rounds(frame) if test(inner) is True]), list_of(kind)


def _transform_list(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    loop = _Loop(compiler, node, scope, 2)
    body, kind = loop.bodies[-1]
    test = loop.bodies[0][0] if len(loop.bodies) == 2 else None
    return (lambda frame: [body(inner) for inner, _ in loop.rounds(frame) if test is None or test(inner) is True]), (
        list_of(kind))


def _transform_map(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
    loop = _Loop(compiler, node, scope, 2)
    body, kind = loop.bodies[-1]
    test = loop.bodies[0][0] if len(loop.bodies) == 2 else None
    return (lambda frame: {key: body(inner) for inner, key in loop.rounds(frame)
                           if test is None or test(inner) is True}), Type("map", kind)


def _optional_map(flat: bool) -> Macro:
    """``optMap`` and ``optFlatMap``: a body over what an optional holds."""
    def macro(compiler: Compiler, node: Node, scope: Scope) -> tuple[Eval, Type]:
        inner, kind = compiler.node(node.parts[0], scope)
        name = _name(compiler, node.parts[1])
        body, result = compiler.node(node.parts[2], scope.binding(**{name: kind.item or DYN}))

        def evaluate(frame: Frame) -> Any:
            held = inner(frame)
            if not isinstance(held, values.Optional):
                raise CelError(f"no such overload: {values.type_name(held)}.optMap")
            if not held.present:
                return held
            made = body(Frame({**frame.names, name: held.value}, frame.meter))
            return made if flat else values.Optional(made, True)

        return evaluate, result if flat else optional(result)

    return macro


_LOOPS: dict[str, tuple[tuple[int, ...], Macro]] = {
    "all": ((2, 3), _quantified(False)), "exists": ((2, 3), _quantified(True)),
    "exists_one": ((2, 3), _exists_one), "existsOne": ((2, 3), _exists_one), "filter": ((2,), _filter),
    "map": ((2, 3), _map), "transformList": ((3, 4), _transform_list), "transformMap": ((3, 4), _transform_map),
    "optMap": ((2,), _optional_map(False)), "optFlatMap": ((2,), _optional_map(True)),
}
"""Name to the numbers of arguments that make it a macro, and the macro."""
