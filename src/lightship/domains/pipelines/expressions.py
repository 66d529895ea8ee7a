"""CEL, as KFP uses it: conditions over ``inputs.parameter_values`` and selectors over one value. Pure.

``validate`` compiles expressions, ``dag`` evaluates them. The engine under me is the ``common-expression-language``
package, of which only the extension module is loaded: its package front imports a terminal toolkit (0.7 s) for a
command line that nobody here runs.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightship.domains.pipelines.errors import InvalidPipeline, StepError
from lightship.domains.pipelines.values import normal, text

MAX_EXPRESSION_CHARACTERS = 20_000
_CACHED_PROGRAMS = 4096


def check(expression: str, place: str) -> None:
    """Raise ``InvalidPipeline`` where ``expression`` is not CEL."""
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        raise InvalidPipeline(f"{place} is an expression of {len(expression)} characters; the limit is "
                              f"{MAX_EXPRESSION_CHARACTERS}", field=place, remedy="Compute the condition in a step")
    try:
        _compiled(expression)
    except ValueError as cause:
        raise InvalidPipeline(f"{place} is not a CEL expression: {expression!r}: {cause}", field=place,
                              remedy="Compile the pipeline again with the kfp SDK") from cause


def condition(expression: str, parameters: Mapping[str, Any], place: str) -> bool:
    """Whether a trigger condition holds for a task's resolved parameters. Raises ``StepError``."""
    variables = {"inputs": {"parameter_values": dict(parameters), "parameters": dict(parameters)}}
    result = _evaluate(expression, variables, place)
    if not isinstance(result, bool):
        raise StepError(f"{place}: the condition {expression!r} gives {result!r}, which is neither true nor false")
    return result


def select(selector: str, value: Any, place: str) -> Any:
    """The part of ``value`` that a ``parameterExpressionSelector`` names. Raises ``StepError``."""
    plain = normal(value)
    variables: dict[str, Any] = {"string_value": text(plain), "struct_value": plain, "list_value": plain}
    if isinstance(plain, (int, float)) and not isinstance(plain, bool):
        variables["number_value"] = plain
    if isinstance(plain, bool):
        variables["bool_value"] = plain
    return normal(_evaluate(selector, variables, place))


def _evaluate(expression: str, variables: dict[str, Any], place: str) -> Any:
    try:
        context = _engine().Context(variables=variables, functions=_FUNCTIONS)
        return _compiled(expression).execute(context)
    except (ValueError, TypeError, RuntimeError, KeyError, IndexError, OverflowError) as cause:
        raise StepError(f"{place}: the expression {expression!r} cannot be evaluated: {cause}") from cause


def _boolean(value: Any) -> bool:
    """CEL's ``bool()``, which the package lacks."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("1", "t", "true"):
        return True
    if isinstance(value, str) and value.lower() in ("0", "f", "false"):
        return False
    raise ValueError(f"bool({value!r}) has no meaning")


def _parse_json(value: str) -> Any:
    return normal(json.loads(value))


_FUNCTIONS = {"parseJson": _parse_json, "bool": _boolean}


@lru_cache(maxsize=_CACHED_PROGRAMS)
def _compiled(expression: str) -> Any:
    return _engine().compile(expression)


@lru_cache(maxsize=1)
def _engine() -> Any:
    """The extension module ``cel.cel`` without its package's front."""
    package = importlib.util.find_spec("cel")
    assert package is not None and package.submodule_search_locations, "common-expression-language is a dependency"
    for folder in package.submodule_search_locations:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / f"cel{suffix}"
            if path.is_file():
                loader = importlib.machinery.ExtensionFileLoader("cel", str(path))
                spec = importlib.util.spec_from_file_location("cel", path, loader=loader)
                assert spec is not None
                module = importlib.util.module_from_spec(spec)
                loader.exec_module(module)
                return module
    import cel

    return cel
