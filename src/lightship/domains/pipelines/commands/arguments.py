"""A run's parameters as they are given on a command line: ``name=value``, read by the type that is declared. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.domains.pipelines import ir
from lightship.kube.objects import Object

_SAID = {ir.NUMBER_DOUBLE: "a number", ir.NUMBER_INTEGER: "a whole number", ir.BOOLEAN: "true or false",
         ir.LIST: "a JSON list", ir.STRUCT: "a JSON object", ir.STRING: "text"}
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def parameters(given: Sequence[str], base: Mapping[str, Any], declared: Mapping[str, ir.ParameterSpec]) -> Object:
    """The run's parameters: ``base`` (a file's) and, over it, what was ``given`` word by word.

    Raises ``errors.InvalidInput`` that names the parameter: unknown, of a wrong type, or missing.
    """
    result: Object = {}
    for name, value in base.items():
        result[name] = _known(name, declared) and value
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise errors.InvalidInput(f"{word!r} gives no parameter", remedy="write NAME=VALUE")
        _known(name, declared)
        result[name] = value_of(name, text, declared[name].type)
    missing = [name for name, spec in declared.items() if spec.default is None and not spec.optional
               and name not in result]
    if missing:
        words = " ".join(f"-p {name}=..." for name in missing)
        told = ", ".join(f"{name} ({_SAID.get(declared[name].type, 'a value')})" for name in missing)
        raise errors.InvalidInput(f"the pipeline needs {told}", remedy=f"give it with {words}")
    return result


def _known(name: str, declared: Mapping[str, ir.ParameterSpec]) -> bool:
    if name in declared:
        return True
    near = difflib.get_close_matches(name, declared, n=1)
    has = ", ".join(sorted(declared)) or "none"
    raise errors.InvalidInput(f'the pipeline has no parameter "{name}"; it has {has}',
                              remedy=f"did you mean {near[0]}?" if near else "")


def value_of(name: str, text: str, kind: str) -> Any:
    """``text`` as a value of the type. ``@FILE`` is that file's text; ``@@`` begins a text with one ``@``."""
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = _file(name, text[1:])
    if kind == ir.STRING:
        return text
    try:
        if kind == ir.NUMBER_INTEGER:
            return int(text)
        if kind == ir.NUMBER_DOUBLE:
            return float(text)
        if kind == ir.BOOLEAN:
            if text.lower() in _TRUE + _FALSE:
                return text.lower() in _TRUE
            raise ValueError(text)
        value = json.loads(text)
    except ValueError:
        raise _mismatch(name, text, kind) from None
    wanted = {ir.LIST: list, ir.STRUCT: dict}.get(kind)
    if wanted is not None and not isinstance(value, wanted):
        raise _mismatch(name, text, kind)
    return value


def _mismatch(name: str, text: str, kind: str) -> errors.InvalidInput:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return errors.InvalidInput(f"the parameter {name} must be {_SAID.get(kind, 'a JSON value')}, not {shown!r}")


def _file(name: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidInput(f"the parameter {name}: could not read {path}: {error}") from error


def file_of(path: Path) -> Object:
    """A JSON or YAML file of parameters by name. Raises ``errors.InvalidInput``."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise errors.InvalidInput(f"could not read the parameters in {path}: {error}") from error
    if not isinstance(data, dict):
        raise errors.InvalidInput(f"{path} must hold parameters by name, as a JSON or YAML object")
    return data
