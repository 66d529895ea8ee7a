"""OpenAI's endpoints: streams that go no faster than they are read, and stop when nobody reads; stop strings."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.modelserver.openai import requests
from lightship.modelserver.options import Limits
from tests.unit.modelserver.conftest import Running, Serve

CHAT = "/openai/v1/chat/completions"
COMPLETIONS = "/openai/v1/completions"


async def events(running: Running, path: str, body: dict[str, Any]) -> list[Any]:
    async with running.client.post(path, json=body | {"model": "m", "stream": True}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        text = await answer.text()
    blocks = text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


async def test_a_stream_has_the_apis_chunks(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        got = await events(running, CHAT, {"messages": [{"role": "user", "content": "a b"}]})
    assert len({event["id"] for event in got}) == 1
    assert {event["object"] for event in got} == {"chat.completion.chunk"}
    assert [event["choices"][0]["delta"] for event in got] == [
        {"role": "assistant", "content": ""}, {"content": "a "}, {"content": "b"}, {}]
    assert [event["choices"][0]["finish_reason"] for event in got] == [None, None, None, "stop"]


async def test_a_stream_goes_no_faster_than_it_is_read_and_ends_with_its_client(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, limit=1024)
        body = json.dumps({"model": "m", "prompt": "forever", "stream": True}).encode()
        writer.write(b"POST /openai/v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"data: ")
        made = -1
        while made < running.model.made:  # until it makes no more: the client reads nothing
            made = running.model.made
            await asyncio.sleep(0.05)
        assert 0 < made < 20_000
        await reader.readexactly(100_000)
        writer.close()
        while not running.model.closed:  # noqa: ASYNC110  the model has no event to wait for
            await asyncio.sleep(0.01)
        assert (await running.get("/v2/health/live"))[0] == 200


async def test_a_client_that_does_not_read_its_stream_is_given_up(serve_kind: Serve) -> None:
    async with serve_kind("speaker", limits=Limits(read_seconds=0.2)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port, limit=1024)
        body = json.dumps({"model": "m", "prompt": "forever", "stream": True}).encode()
        writer.write(b"POST /openai/v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"data: ")
        while not running.model.closed:  # noqa: ASYNC110  the model has no event to wait for
            await asyncio.sleep(0.01)
        writer.close()


async def test_an_old_client_gets_its_stream_without_chunks(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        body = b'{"model": "m", "prompt": "a b", "stream": true}'
        writer.write(b"POST /openai/v1/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        head, _, rest = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
        writer.close()
    assert b"chunked" not in head
    assert rest.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_after_a_stream_the_connection_goes_on(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        for _ in range(3):
            assert len(await events(running, COMPLETIONS, {"prompt": "a b"})) == 3
        assert len(running.client.connector._conns) == 1  # type: ignore[union-attr]


async def test_a_model_that_breaks_in_a_stream_says_so(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        got = await events(running, COMPLETIONS, {"prompt": "well raise"})
        assert got[0]["choices"][0]["text"] == "well "
        assert "broke" in got[-1]["error"]["message"]
        got = await events(running, COMPLETIONS, {"prompt": ["a b c d e", "raise"]})
        assert "broke" in got[-1]["error"]["message"]
        assert running.model.closed == 3, "the choice beside the broken one is stopped too"


async def test_a_refusal_has_its_status_in_a_stream_too(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        status, body = await running.post(CHAT, {"model": "m", "stream": True, "messages": [
            {"role": "user", "content": "refuse"}]})
    assert (status, body["error"]["type"], body["error"]["code"]) == (400, "invalid_request_error", "400")


@pytest.mark.parametrize("body", [
    "[]", "{", '{"model": "m"}', '{"model": "m", "prompt": []}', '{"model": "m", "prompt": [[], "a"]}',
    '{"model": "m", "prompt": "a", "n": 0}', '{"model": "m", "prompt": "a", "n": 99}',
    '{"model": "m", "prompt": "a", "max_tokens": -1}', '{"model": "m", "prompt": "a", "top_p": 0}',
    '{"model": "m", "prompt": "a", "best_of": 4}', '{"model": "m", "prompt": [1], "echo": true}',
])
async def test_bad_completions(serve_kind: Serve, body: str) -> None:
    async with serve_kind("speaker") as running:
        status, answer = await running.post(COMPLETIONS, data=body.encode())
        assert (status, bool(answer["error"]["message"])) == (400, True)
        assert not running.model.requests


async def test_what_is_asked_reaches_the_model(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        await running.post(CHAT, {
            "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5, "seed": 7,
            "n": 2, "top_k": 3, "stop": "x", "chat_template_kwargs": {"thinking": False}, "temperature": 0.5})
        one, two = running.model.requests
    assert (one.max_tokens, one.seed, two.seed, one.stop, one.temperature) == (5, 7, 8, ("x",), 0.5)
    assert (one.template, one.extra) == ({"thinking": False}, {"top_k": 3})


async def test_embeddings_and_rerank(serve_kind: Serve) -> None:
    async with serve_kind("speaker") as running:
        _, body = await running.post("/openai/v1/embeddings", {"model": "m", "input": [[1, 2], [3]]})
        assert [one["embedding"] for one in body["data"]] == [[2.0, 0.5], [1.0, 0.5]]
        _, body = await running.post("/openai/v1/rerank", {
            "model": "m", "query": "a", "documents": ["b", "a a", {"text": "a"}], "top_n": 2})
        assert [(one["index"], one["relevance_score"]) for one in body["results"]] == [(1, 2.0), (2, 1.0)]
        for path, wrong in (("embeddings", {"input": 3}), ("embeddings", {"input": "a", "dimensions": 2}),
                            ("rerank", {"query": "a", "documents": [3]})):
            assert (await running.post(f"/openai/v1/{path}", {"model": "m"} | wrong))[0] == 400


async def test_a_model_without_language_says_so(serve_kind: Serve) -> None:
    async with serve_kind("sums") as running:
        for path, body in ((COMPLETIONS, {"prompt": "a"}), ("/openai/v1/embeddings", {"input": "a"})):
            status, answer = await running.post(path, body | {"model": "m"})
            assert (status, answer["error"]["type"]) == (501, "not_implemented_error")
    async with serve_kind("speaker") as running:
        assert (await running.post("/v1/models/m:predict", {"instances": [1]}))[0] == 501


PIECES = st.lists(st.text(alphabet="abc", max_size=4), max_size=12)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


@given(PIECES, STOPS)
def test_stops_cut_where_the_whole_text_would_be_cut(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    ends = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    cutter = requests.Stops(stops)
    sent = ""
    for piece in pieces:
        sent += cutter.feed(piece)
        if cutter.ended:
            break
    if ends:
        # The first stop string to be whole ends the text, before or where the leftmost of all begins.
        assert cutter.ended
        assert text.startswith(sent)
        assert not any(stop in sent for stop in stops)
    else:
        assert sent + cutter.rest() == text
