"""How a request goes through an InferenceGraph: upstream's four routers. ``server`` calls me; I call services.

An answer is handed on unread where nobody in the graph has to look at it, so that a model that streams is streamed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lightship import errors
from lightship.lib import gjson
from lightship.modelserver.router import calls
from lightship.modelserver.router.calls import Reply
from lightship.modelserver.router.graph import ENSEMBLE, ROOT, SEQUENCE, SPLITTER, SWITCH, Graph, Node, Step

LIMIT_ANSWER_BYTES = 64 << 20
LIMIT_DEPTH = 32
RESPONSE = "$response"
HARD = "Hard"

Post = Callable[[str, bytes, Mapping[bytes, bytes]], Awaitable[Reply]]
Headers = Mapping[bytes, bytes]


class NoRoute(errors.NotFound):
    """No condition of a Switch holds."""


class Router:
    """One graph. ``dice`` gives a whole number below 100."""

    def __init__(self, graph: Graph, post: Post, dice: Callable[[], int],
                 propagated: Sequence[re.Pattern[str]] = ()) -> None:
        self._graph = graph
        self._post = post
        self._dice = dice
        self._propagated = propagated

    async def answer(self, body: bytes, headers: Headers) -> Reply:
        """The graph's answer. Raises ``errors.LightshipError``."""
        return await self._node(ROOT, body, self._passed_on(headers), 0)

    def _passed_on(self, headers: Headers) -> dict[bytes, bytes]:
        kept = {name: value for name, value in headers.items()
                if any(pattern.search(name.decode("latin-1")) for pattern in self._propagated)
                and name not in _OF_ONE_HOP}
        return kept if b"content-type" in kept else kept | {b"content-type": b"application/json"}

    async def _node(self, name: str, body: bytes, headers: Headers, depth: int) -> Reply:
        node = self._graph.nodes.get(name)
        if node is None:
            raise errors.InvalidInput(f'the graph has no node "{name}"')
        if depth > LIMIT_DEPTH:
            raise errors.InvalidInput(f"the graph is more than {LIMIT_DEPTH} nodes deep")
        walk = {SPLITTER: self._splitter, SWITCH: self._switch, ENSEMBLE: self._ensemble,
                SEQUENCE: self._sequence}.get(node.router_type)
        if walk is None:
            raise errors.InvalidInput(f"invalid route type: {node.router_type}")
        return await walk(node, body, headers, depth)

    async def _step(self, step: Step, body: bytes, headers: Headers, depth: int) -> Reply:
        if step.node_name:
            return await self._node(step.node_name, body, headers, depth + 1)
        return await self._post(step.service_url, body, headers)

    async def _splitter(self, node: Node, body: bytes, headers: Headers, depth: int) -> Reply:
        point, end = self._dice(), 0
        for step in node.steps:
            end += step.weight or 0
            if point < end:
                return await self._step(step, body, headers, depth)
        raise errors.InvalidInput("no route was selected by the splitter")

    async def _switch(self, node: Node, body: bytes, headers: Headers, depth: int) -> Reply:
        known, value = _json(body)
        for step in node.steps if known else ():
            if gjson.get(value, step.condition) is not gjson.NOTHING:
                return await self._step(step, body, headers, depth)
        raise NoRoute("None of the routes matched with the switch condition")

    async def _ensemble(self, node: Node, body: bytes, headers: Headers, depth: int) -> Reply:
        async def one(step: Step) -> tuple[Reply, bytes]:
            reply = await self._step(step, body, headers, depth)
            return reply, await reply.whole(LIMIT_ANSWER_BYTES)

        tasks = [asyncio.ensure_future(one(step)) for step in node.steps]
        merged: dict[str, Any] = {}
        try:
            for place, (step, task) in enumerate(zip(node.steps, tasks, strict=True)):
                reply, answer = await task
                known, value = _json(answer)
                if not known:
                    raise errors.Unavailable(f'the answer of step "{step.name or place}" is no JSON')
                if not reply.good and step.dependency == HARD:
                    return calls.made(reply.status, answer)
                merged[step.name or str(place)] = value
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return calls.made(200, msgspec.json.encode(merged))

    async def _sequence(self, node: Node, body: bytes, headers: Headers, depth: int) -> Reply:
        reply: Reply | None = None
        for place, step in enumerate(node.steps):
            before = await reply.whole(LIMIT_ANSWER_BYTES) if reply is not None else b""
            request = before if step.data == RESPONSE and place else body
            if step.map_predictions_to_instances:
                request = _mapped(request)
            if step.condition:
                known, value = _json(before if place else body)
                if not known:
                    raise errors.Unavailable("invalid response")
                if gjson.get(value, step.condition) is gjson.NOTHING:
                    return calls.made(200, before or body)
            reply = await self._step(step, request, headers, depth)
            if step.dependency == HARD and not reply.good:
                return reply
        if reply is None:
            raise errors.InvalidInput("a sequence without a step has no answer")
        return reply


_OF_ONE_HOP = frozenset({b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"te", b"trailer",
                         b"transfer-encoding", b"upgrade", b"content-encoding", b"accept-encoding"})
"""Headers that say something of the connection or of the body's form, which are the router's own to each step."""


def _json(data: bytes) -> tuple[bool, Any]:
    try:
        return True, msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False, None


def _mapped(request: bytes) -> bytes:
    """``predictions`` of the step before become ``instances`` of this one."""
    known, value = _json(request)
    if known and isinstance(value, dict) and isinstance(value.get("predictions"), list) and value["predictions"]:
        return msgspec.json.encode({"instances": value["predictions"]})
    return request
