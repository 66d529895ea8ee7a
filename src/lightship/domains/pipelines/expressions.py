"""CEL, as KFP uses it: conditions over ``inputs.parameter_values`` and selectors over one value. Pure.

``validate`` compiles expressions, ``dag`` and ``inputs`` evaluate them; ``lightship.kube.cel`` is the engine. Numbers
are doubles in an expression, since upstream's values are protobuf's, which have one number type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lightship.domains.pipelines.errors import InvalidPipeline, StepError
from lightship.domains.pipelines.values import normal, text
from lightship.kube import cel

LIMIT_EXPRESSION_CHARACTERS = 20_000
LIMIT_EVALUATION_STEPS = 300_000
"""What one evaluation may cost: half a second of the server's time, or JSON text of 3 MB."""
LIMIT_EXACT = 2 ** 53
"""Greater whole numbers stay integers, so that a selector gives them as they are."""
_CACHED_PROGRAMS = 4096

_OF_CONDITIONS = {"inputs": cel.DYN, "outputs": cel.DYN}
_OF_SELECTORS = dict.fromkeys(("string_value", "number_value", "bool_value", "struct_value", "list_value",
                               "null_value"), cel.DYN)


def check(expression: str, place: str, *, selector: bool = False) -> None:
    """Raise ``InvalidPipeline`` where ``expression`` is not CEL over what it may name."""
    if len(expression) > LIMIT_EXPRESSION_CHARACTERS:
        raise InvalidPipeline(f"{place} is an expression of {len(expression)} characters; the limit is "
                              f"{LIMIT_EXPRESSION_CHARACTERS}", field=place, remedy="Compute the condition in a step")
    try:
        _compiled(expression, selector)
    except cel.CompileError as cause:
        raise InvalidPipeline(f"{place} is not a CEL expression: {expression!r}: {cause.message}", field=place,
                              remedy="Compile the pipeline again with the kfp SDK") from cause


def condition(expression: str, parameters: Mapping[str, Any], place: str,
              artifacts: Mapping[str, Any] | None = None) -> bool:
    """Whether a trigger condition holds for a task's inputs; ``artifacts`` as lists of RuntimeArtifacts.

    Raises ``StepError``.
    """
    given = _doubled(parameters)
    listed = {name: {"artifacts": _doubled(found)} for name, found in (artifacts or {}).items()}
    variables = {"inputs": {"parameter_values": given, "parameters": given, "artifacts": listed}, "outputs": {}}
    result = _evaluate(expression, False, variables, place)
    if not isinstance(result, bool):
        raise StepError(f"{place}: the condition {expression!r} gives {result!r}, which is neither true nor false")
    return result


def select(selector: str, value: Any, place: str) -> Any:
    """The part of ``value`` that a ``parameterExpressionSelector`` names. Raises ``StepError``."""
    plain = normal(value)
    variables: dict[str, Any] = {"string_value": text(plain)}
    field = {bool: "bool_value", int: "number_value", float: "number_value", dict: "struct_value",
             list: "list_value"}.get(type(plain))
    if field is not None:
        variables[field] = _doubled(plain)
    return normal(_evaluate(selector, True, variables, place))


def _evaluate(expression: str, selector: bool, variables: dict[str, Any], place: str) -> Any:
    try:
        value, _ = _compiled(expression, selector).run(variables, LIMIT_EVALUATION_STEPS)
    except (cel.CelError, cel.CompileError) as cause:
        raise StepError(f"{place}: the expression {expression!r} cannot be evaluated: {cause}") from cause
    return value


def _doubled(value: Any) -> Any:
    """JSON data with protobuf's numbers."""
    if isinstance(value, Mapping):
        return {str(key): _doubled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_doubled(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LIMIT_EXACT:
        return float(value)
    return value


def _parse_json(value: Any) -> Any:
    if not isinstance(value, str):
        raise cel.CelError("no such overload: parseJson takes a string")
    try:
        return _doubled(json.loads(value))
    except (ValueError, RecursionError) as cause:
        raise cel.CelError(f"failed to unmarshal JSON: {cause}") from cause


_FUNCTIONS = {"parseJson": cel.Function(1, 1, cel.DYN, _parse_json)}


@lru_cache(maxsize=_CACHED_PROGRAMS)
def _compiled(expression: str, selector: bool) -> cel.Program:
    return cel.compile(expression, _OF_SELECTORS if selector else _OF_CONDITIONS, functions=_FUNCTIONS)
