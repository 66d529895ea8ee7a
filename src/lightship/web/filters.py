"""The filters of lists, read into ``records.listing.Predicate``s: KFP's JSON and the registry's text. Pure."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec

from lightship import errors
from lightship.records.listing import PREDICATE_LIMIT, Operation, Predicate, Scalar

FILTER_LIMIT_CHARACTERS = 64 * 1024
_KFP_NUMBERS: dict[int, Operation] = {
    # 4 is not used; the SDK sends numbers, people write names.
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN", 7: "LESS_THAN_EQUALS",
    8: "IN", 9: "IS_SUBSTRING",
}
_KFP_NAMES: dict[str, Operation] = {name: name for name in get_args(Operation) if name != "LIKE"}
_SINGLE = ("string_value", "int_value", "long_value", "timestamp_value")
_SEVERAL = ("string_values", "int_values", "long_values")
_COMPARISONS: dict[str, Operation] = {
    "=": "EQUALS", "!=": "NOT_EQUALS", ">": "GREATER_THAN", ">=": "GREATER_THAN_EQUALS", "<": "LESS_THAN",
    "<=": "LESS_THAN_EQUALS", "like": "LIKE", "in": "IN",
}
_TOKEN = re.compile(r"""\s*(?:
    (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") | (?P<number>-?\d+(?:\.\d+)?) | (?P<sign>>=|<=|!=|=|>|<|\(|\)|,)
    | (?P<word>[A-Za-z_][\w.]*) )""", re.VERBOSE)


def kfp(text: str) -> tuple[Predicate, ...]:
    """KFP's filter: ``{"predicates": [{"operation", "key", "string_value"}]}``, in snake or camel case.

    Raises ``errors.BadRequest`` saying what is wrong with it.
    """
    if not text:
        return ()
    _check_length(text)
    try:
        decoded: Any = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise errors.BadRequest(f"the filter is not JSON: {error}") from error
    listed = decoded.get("predicates") if isinstance(decoded, dict) else None
    if listed is None and decoded == {}:
        return ()
    if not isinstance(listed, list) or len(listed) > PREDICATE_LIMIT:
        raise errors.BadRequest(f'the filter needs a list "predicates" of at most {PREDICATE_LIMIT}')
    return tuple(_predicate(each) for each in listed)


def registry(text: str) -> tuple[Predicate, ...]:
    """The registry's ``filterQuery``: comparisons joined by AND, such as ``name LIKE 'a%' AND state = 'LIVE'``."""
    if not text.strip():
        return ()
    _check_length(text)
    tokens = _tokens(text)
    predicates = []
    while tokens:
        predicates.append(_comparison(tokens, text))
        if tokens and tokens.pop(0).lower() != "and":
            raise _unreadable(text, "comparisons are joined by AND")
        if len(predicates) > PREDICATE_LIMIT:
            raise errors.BadRequest(f"the filter has more than {PREDICATE_LIMIT} comparisons")
    return tuple(predicates)


def _check_length(text: str) -> None:
    if len(text) > FILTER_LIMIT_CHARACTERS:
        raise errors.BadRequest(f"the filter has more than {FILTER_LIMIT_CHARACTERS} characters")


def _predicate(item: Any) -> Predicate:
    if not isinstance(item, dict):
        raise errors.BadRequest("a predicate of the filter is not an object")
    fields = {re.sub(r"(?<=[a-z])([A-Z])", lambda match: "_" + match[1].lower(), key): value
              for key, value in item.items()}
    operation = fields.get("operation", fields.get("op"))
    known = _KFP_NUMBERS.get(operation) if isinstance(operation, int) else _KFP_NAMES.get(str(operation).upper())
    if known is None:
        raise errors.BadRequest(f'the filter has an unknown operation "{operation}"',
                                remedy=f"Use one of {', '.join(_KFP_NAMES)}")
    key = fields.get("key")
    if not isinstance(key, str) or not key:
        raise errors.BadRequest('a predicate of the filter has no "key"')
    values: Any = next(([fields[name]] for name in _SINGLE if name in fields), None)
    if values is None:
        values = next((fields[name] for name in _SEVERAL if name in fields), None)
        values = values.get("values") if isinstance(values, dict) else values
    if not isinstance(values, list) or not all(isinstance(each, str | int | float) for each in values):
        raise errors.BadRequest(f'the predicate on "{key}" has no value', remedy=f"Give one of {', '.join(_SINGLE)}")
    return Predicate(field=key, operation=known, values=tuple(values))


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise _unreadable(text, f"character {place + 1} does not fit")
        found.append(match[0].strip())
        place = match.end()
    return found


def _comparison(tokens: list[str], text: str) -> Predicate:
    if len(tokens) < 3:
        raise _unreadable(text, "a comparison is field, operator, value")
    field, sign = tokens.pop(0), tokens.pop(0).lower()
    operation = _COMPARISONS.get(sign)
    if operation is None or not (field[0].isalpha() or field[0] == "_"):
        raise _unreadable(text, f'"{field} {sign}" is not the beginning of a comparison')
    if operation != "IN":
        return Predicate(field=field, operation=operation, values=(_literal(tokens.pop(0), text),))
    values: list[Scalar] = []
    if tokens.pop(0) != "(":
        raise _unreadable(text, "IN needs a list in parentheses")
    while tokens:
        values.append(_literal(tokens.pop(0), text))
        after = tokens.pop(0) if tokens else ""
        if after == ")":
            return Predicate(field=field, operation="IN", values=tuple(values))
        if after != ",":
            break
    raise _unreadable(text, "the list of IN does not end")


def _literal(token: str, text: str) -> Scalar:
    if token[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if token.lower() in ("true", "false"):
        return token.lower() == "true"
    try:
        return float(token) if "." in token else int(token)
    except ValueError:
        raise _unreadable(text, f'"{token}" is not a value; write text in quotes') from None


def _unreadable(text: str, why: str) -> errors.BadRequest:
    return errors.BadRequest(f'cannot read the filter "{text[:200]}": {why}')
