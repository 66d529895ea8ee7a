"""Reading a pipeline file: bytes to plain JSON data, safely, and a reader that knows where in it one is.

``parse`` calls me. A file is JSON or YAML, one document or two (the pipeline spec, then the platform spec). What is too
big, too deep, recursive, or explodes through aliases is refused before anything is built from it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from lightship import errors
from lightship.domains.pipelines.errors import InvalidPipeline

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_DEPTH_LEVELS = 100
MAX_NODES = 1_000_000
"""Values in a file once its aliases are written out."""
MAX_DOCUMENTS = 2

_REMEDY = "Compile the pipeline again with the kfp SDK and submit the file unchanged"


def load(data: bytes) -> list[dict[str, Any]]:
    """The documents of a pipeline file. Raises ``InvalidPipeline`` or ``errors.TooLarge``."""
    if len(data) > MAX_FILE_BYTES:
        raise errors.TooLarge(f"the pipeline file has {len(data)} bytes; the limit is {MAX_FILE_BYTES}",
                              remedy="Keep large values in artifacts, not in the pipeline file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise InvalidPipeline(f"the pipeline file is not UTF-8 text: {cause}", remedy=_REMEDY) from cause
    documents = _from_json(text) if text.lstrip()[:1] == "{" else None
    if documents is None:
        documents = list(_from_yaml(text))
    documents = [document for document in documents if document is not None]
    if not documents:
        raise InvalidPipeline("the pipeline file is empty", remedy=_REMEDY)
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidPipeline(f"the pipeline file has {len(documents)} documents; a pipeline has one, or two with its "
                              "platform spec", remedy=_REMEDY)
    for document in documents:
        if not isinstance(document, dict):
            raise InvalidPipeline(f"the pipeline file holds {_kind(document)} where a mapping is expected",
                                  remedy=_REMEDY)
        check_size(document)
    return documents


def _from_json(text: str) -> list[Any] | None:
    """The JSON document, or None where it is not JSON (YAML's flow style begins with a brace too)."""
    try:
        return [json.loads(text)]
    except RecursionError as cause:
        raise _too_deep() from cause
    except ValueError:
        return None


def _from_yaml(text: str) -> Iterator[Any]:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml, text, base)
        loader = base(text)
        try:
            while loader.check_node():
                node = loader.get_node()
                _check_nodes(node)
                yield _without_dates(loader.construct_document(node))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidPipeline(f"the pipeline file is not valid YAML{place}: {cause.problem or cause}",
                              remedy=_REMEDY) from cause
    except yaml.YAMLError as cause:
        raise InvalidPipeline(f"the pipeline file is not valid YAML: {cause}", remedy=_REMEDY) from cause
    except RecursionError as cause:
        raise _too_deep() from cause
    except (ValueError, TypeError) as cause:
        raise InvalidPipeline(f"the pipeline file holds a value that cannot be read: {cause}",
                              remedy=_REMEDY) from cause


def _check_events(yaml: Any, text: str, loader: Any) -> None:
    """Refuse what is too deep before the composer, which recurses, sees it."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH_LEVELS:
                raise _too_deep()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_nodes(root: Any) -> None:
    """Refuse aliases that recurse or that would explode, and keys given twice, on the composed graph."""
    import yaml

    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_nodes:
            raise InvalidPipeline(f"the pipeline file refers to itself at line {node.start_mark.line + 1}",
                                  remedy="Remove the recursive YAML alias")
        open_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            total = 1 + sum(size(key) + size(value) for key, value in node.value)
        else:
            total = 1 + sum(size(item) for item in node.value)
        open_nodes.discard(id(node))
        if total > MAX_NODES:
            raise errors.TooLarge(f"the pipeline file's aliases expand to more than {MAX_NODES} values at line "
                                  f"{node.start_mark.line + 1}", remedy="Write the values out instead of aliasing them")
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(node: Any) -> None:
    seen = set()
    for key, _ in node.value:
        if key.value.__class__ is not str:
            continue
        if key.value in seen and key.value != "<<":
            raise InvalidPipeline(f'the key "{key.value}" is given twice, again at line {key.start_mark.line + 1}',
                                  remedy="Keep one of them")
        seen.add(key.value)


def _without_dates(value: Any) -> Any:
    """YAML reads ``2024-01-01`` as a date; KFP means the text."""
    if isinstance(value, dict):
        return {str(key): _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (bytes, set)):
        raise InvalidPipeline(f"the pipeline file holds {_kind(value)}, which JSON does not have", remedy=_REMEDY)
    return value


def check_size(document: Any) -> None:
    """Refuse JSON data that is too deep, has too many values, or holds what neither JSON nor a process can carry."""
    count, pending = 0, [(document, 0)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if depth > MAX_DEPTH_LEVELS:
            raise _too_deep()
        if count > MAX_NODES:
            raise errors.TooLarge(f"the pipeline file holds more than {MAX_NODES} values",
                                  remedy="Keep large values in artifacts, not in the pipeline file")
        if isinstance(value, dict):
            for key in value:
                _check_text(str(key))
            pending += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            pending += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            _check_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidPipeline(f"the pipeline file holds the number {value}, which JSON does not have",
                                  remedy="Pass it as text, and read it in the component")


def _check_text(value: str) -> None:
    if "\0" in value:
        raise InvalidPipeline(f"the pipeline file holds a NUL character, in {value[:40]!r}",
                              remedy="Remove it: no argument and no variable of a process can hold one")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as cause:
            raise InvalidPipeline(f"the pipeline file holds half of a surrogate pair, in {value[:40]!r}",
                                  remedy=_REMEDY) from cause


def _too_deep() -> errors.LightshipError:
    return errors.TooLarge(f"the pipeline file is nested deeper than {MAX_DEPTH_LEVELS} levels",
                           remedy="Flatten its values")


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list",
            dict: "a mapping"}.get(type(value), f"a {type(value).__name__}")


@lru_cache(maxsize=512)
def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match.group(1).lower(), name)


class Reader:
    """A mapping with its place in the file. Fields are read by their JSON name; the proto name does as well."""

    def __init__(self, value: dict[str, Any], place: str = "") -> None:
        self.value = value
        self.place = place

    @classmethod
    def of(cls, value: Any, place: str) -> Reader:
        if value is None:
            return cls({}, place)
        if not isinstance(value, dict):
            raise wrong(place, f"is {_kind(value)} where a mapping is expected")
        return cls(value, place)

    def has(self, name: str) -> bool:
        return self.raw(name) is not None

    def raw(self, name: str) -> Any:
        value = self.value.get(name)
        return self.value.get(_snake(name)) if value is None else value

    def only(self, names: Sequence[str]) -> Reader:
        """Me, who have no other fields than these. Raises ``InvalidPipeline``: what is not known cannot be honoured."""
        known = {*names, *(_snake(name) for name in names)}
        unknown = next((name for name in self.value if name not in known), None)
        if unknown is not None:
            raise self.fail(str(unknown), "is not known to this server", f"Known there are: {', '.join(names)}")
        return self

    def within(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def fail(self, name: str, story: str, remedy: str = "") -> InvalidPipeline:
        return wrong(self.within(name), story, remedy)

    def child(self, name: str) -> Reader:
        return Reader.of(self.raw(name), self.within(name))

    def entries(self, name: str) -> Iterator[tuple[str, Reader]]:
        """The named mappings in the mapping ``name``."""
        inner = self.child(name)
        for key in inner.value:
            yield str(key), Reader.of(inner.value[key], inner.within(str(key)))

    def items(self, name: str) -> Iterator[Reader]:
        """The mappings in the list ``name``."""
        for index, value in enumerate(self.list(name)):
            yield Reader.of(value, f"{self.within(name)}[{index}]")

    def text(self, name: str, default: str = "") -> str:
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self.fail(name, f"is {_kind(value)} where a string is expected")
        return str(value)

    def number(self, name: str, default: float = 0.0) -> float:
        value = self.raw(name)
        if value is None:
            return default
        try:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        except (TypeError, ValueError):
            raise self.fail(name, f"is {_kind(value)} where a number is expected") from None

    def integer(self, name: str, default: int = 0) -> int:
        value = self.number(name, default)
        if value != int(value):
            raise self.fail(name, f"is {value} where a whole number is expected")
        return int(value)

    def flag(self, name: str) -> bool:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise self.fail(name, f"is {_kind(value)} where true or false is expected")
        return bool(value)

    def list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fail(name, f"is {_kind(value)} where a list is expected")
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        values = self.list(name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise wrong(f"{self.within(name)}[{index}]", f"is {_kind(value)} where a string is expected")
        return tuple(values)

    def duration_seconds(self, name: str, default: float) -> float:
        """A protobuf Duration in JSON: ``"3.5s"``."""
        text = self.text(name)
        if not text:
            return default
        try:
            return float(text.removesuffix("s"))
        except ValueError:
            raise self.fail(name, f'is "{text}" where a duration such as "30s" is expected') from None


def wrong(place: str, story: str, remedy: str = "") -> InvalidPipeline:
    return InvalidPipeline(f"{place or 'the pipeline spec'} {story}", field=place, remedy=remedy or _REMEDY)
