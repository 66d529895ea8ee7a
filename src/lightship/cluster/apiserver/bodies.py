"""Request bodies as data: JSON by default, YAML where it is said, and a clear refusal of the rest.

Pure; ``server`` and ``writes`` call me. YAML is imported when the first such body comes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from lightship import errors
from lightship.client.transport import Request
from lightship.cluster.apiserver import protobuf
from lightship.cluster.apiserver.errors import UnsupportedMediaType

LIMIT_BODY_BYTES = 3 * 1024 * 1024
LIMIT_OBJECT_BYTES = 1_572_864
"""1.5 MiB: what etcd takes by default."""
LIMIT_DEPTH = 200
LIMIT_YAML_BYTES = 256 * 1024
PROTOBUF = "application/vnd.kubernetes.protobuf"

_decode = msgspec.json.Decoder().decode


def content_type(request: Request) -> str:
    """The media type without parameters; JSON where the client says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or "application/json"


def read(request: Request) -> Any:
    """The body's data; None for an empty body. Raises ``errors.BadRequest`` and its kin."""
    if len(request.body) > LIMIT_BODY_BYTES:
        raise errors.TooLarge(f"the request body has {len(request.body)} bytes, the limit is {LIMIT_BODY_BYTES}")
    if not request.body:
        return None
    kind = content_type(request)
    if kind == PROTOBUF:
        data = protobuf.decode(request.body)
        check_depth(data)  # It may hold JSON.
        return data
    if kind in ("application/yaml", "application/apply-patch+yaml", "text/yaml"):
        return _yaml(request.body)
    if kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", "*/*") or kind.endswith("+json"):
        return json(request.body)
    raise UnsupportedMediaType(f"the body is {kind!r}", remedy="Send application/json or application/yaml")


def json(body: bytes) -> Any:
    """Decoded JSON of bounded depth. Raises ``errors.BadRequest``."""
    try:
        data = _decode(body)
    except RecursionError as e:
        raise errors.BadRequest("the JSON is nested too deeply") from e
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as e:
        raise errors.BadRequest(f"the body is not JSON: {e}") from e
    if body.count(b"{") + body.count(b"[") > LIMIT_DEPTH:  # else it cannot be that deep
        check_depth(data)
    return data


def check_depth(data: Any) -> None:
    """Refuse what our own recursive functions could not walk; a flat object costs a few steps."""
    level = [data]
    for _ in range(LIMIT_DEPTH):
        level = [inner for value in level if isinstance(value, dict | list)
                 for inner in (value.values() if isinstance(value, dict) else value) if isinstance(inner, dict | list)]
        if not level:
            return
    raise errors.BadRequest(f"the body is nested deeper than {LIMIT_DEPTH} levels")


def _yaml(body: bytes) -> Any:
    if body.lstrip()[:1] in (b"{", b"["):
        return json(body)
    if len(body) > LIMIT_YAML_BYTES:
        raise errors.TooLarge(f"a YAML body may have {LIMIT_YAML_BYTES} bytes, this one has {len(body)}",
                              remedy="Send JSON, which takes a fraction of the time to read")
    import yaml

    try:
        _check_events(body)
        data = yaml.load(body, Loader=_loader())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as e:
        raise errors.BadRequest(f"the body is not YAML: {e}") from e
    return json(msgspec.json.encode(data))


def _check_events(body: bytes) -> None:
    """Refuse aliases, which explode, and what is too deep, before anything is made of the body."""
    import yaml

    depth = 0
    for event in yaml.parse(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > LIMIT_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {LIMIT_DEPTH} levels")


@cache
def _loader() -> Any:
    """Safe YAML as Kubernetes reads it: no times or bytes, keys are strings."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            return {_key(key): value for key, value in super().construct_mapping(node, deep=True).items()}

    dropped = ("tag:yaml.org,2002:timestamp",)
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in dropped]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}

    def refuse(loader: Any, node: Any) -> Any:
        raise yaml.YAMLError(f"the tag {node.tag} is not accepted")

    for tag in ("binary", "timestamp", "omap", "pairs", "set"):
        Loader.add_constructor(f"tag:yaml.org,2002:{tag}", refuse)
    return Loader


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    return key if isinstance(key, str) else str(key)
