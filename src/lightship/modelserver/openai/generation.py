"""Runs the choices of one generation beside each other and hands on what they make, no faster than it is taken.

``endpoints`` iterates over ``deltas``. Whatever ends the iteration (an error, the client's leaving) closes every
choice's iterator, so that the model stops computing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from lightship.modelserver.language import Generating, Piece
from lightship.modelserver.openai.requests import Generation, Stops
from lightship.modelserver.openai.shapes import Delta, Usage

Deltas = AsyncGenerator[Delta, None]


async def deltas(model: Generating, asked: Generation, usage: Usage) -> Deltas:
    """What the choices make, as it comes; ``usage`` counts along. Raises what the model raises."""
    if len(asked.choices) == 1:
        async with aclosing(_choice(model, asked, 0, usage)) as one:
            async for delta in one:
                yield delta
        return
    # One place for each choice: a choice goes on once its last delta was taken.
    queue: asyncio.Queue[Delta | Exception | None] = asyncio.Queue(1)
    tasks = [asyncio.create_task(_pump(model, asked, index, usage, queue)) for index in range(len(asked.choices))]
    left = len(tasks)
    try:
        while left:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(model: Generating, asked: Generation, index: int, usage: Usage,
                queue: asyncio.Queue[Delta | Exception | None]) -> None:
    end: Exception | None = None
    try:
        async with aclosing(_choice(model, asked, index, usage)) as one:
            async for delta in one:
                await queue.put(delta)
    except Exception as problem:
        end = problem  # raised again by who reads the queue
    await queue.put(end)


async def _choice(model: Generating, asked: Generation, index: int, usage: Usage) -> Deltas:
    """One choice's deltas, ended at its stop strings."""
    request = asked.choices[index]
    stops = Stops(request.stop)
    finish, first = "", asked.chat
    if first or asked.echo:
        text = asked.echo[index] if asked.echo else ""
        yield Delta(index=index, text=text, first=first, generated=False)
    # A generator, whatever the protocol calls it: only those can be closed.
    async with aclosing(cast(Any, model.generate(request))) as pieces:
        async for piece in pieces:
            assert isinstance(piece, Piece)
            _count(usage, piece)
            text = stops.feed(piece.text)
            finish = "stop" if stops.ended else piece.finish
            if text or piece.logprobs or piece.tool_calls:
                yield Delta(index=index, text=text, logprobs=piece.logprobs, tool_calls=piece.tool_calls)
            if finish:
                break
    yield Delta(index=index, text="" if stops.ended else stops.rest(), finish=finish or "stop")


def _count(usage: Usage, piece: Piece) -> None:
    usage.prompt += piece.prompt_tokens
    usage.completion += piece.tokens
