"""Models of every form over every protocol: several outputs, requests taken whole, models that come and go."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor

from lightship.lib import protowire as wire
from lightship.modelserver import cloudevents, grpc_codec, tensors
from lightship.modelserver.formats import WholeTensor
from lightship.modelserver.inference import Inference
from lightship.modelserver.options import Limits, Options, parse
from lightship.modelserver.replies import Response
from lightship.modelserver.server import ModelServer
from tests.unit.modelserver.conftest import Running, Serve
from tests.unit.modelserver.rpc import Rpc, infer_message, read_response

SERVICE = "/inference.GRPCInferenceService/"
A, B = [[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]


def pair(**more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "shape": [2, 2], "datatype": "FP32", "data": data}
                       for name, data in (("a", A), ("b", B))], **more}


# ---- several inputs and outputs


async def test_several_outputs_over_v2(serve_kind: Serve) -> None:
    async with serve_kind("sums") as running:
        status, body = await running.post("/v2/models/m/infer", pair())
        assert status == 200
        assert body["outputs"] == [
            {"name": "sum", "shape": [2, 2], "datatype": "FP32", "data": [11.0, 22.0, 33.0, 44.0]},
            {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["33", "77"]}]
        _, body = await running.post("/v2/models/m/infer", pair(outputs=[{"name": "label"}]))
        assert [output["name"] for output in body["outputs"]] == ["label"]


async def test_an_output_alone_may_be_asked_for_as_bytes(serve_kind: Serve) -> None:
    asked = pair(outputs=[{"name": "sum", "parameters": {"binary_data": True}}, {"name": "label"}])
    async with serve_kind("sums") as running, running.client.post("/v2/models/m/infer", json=asked) as answer:
        raw = await answer.read()
        cut = int(answer.headers["Inference-Header-Content-Length"])
    assert np.frombuffer(raw[cut:], "<f4").tolist() == [11.0, 22.0, 33.0, 44.0]
    assert b'"data":["33","77"]' in raw[:cut]
    assert answer.content_type == "application/octet-stream"


async def test_several_outputs_over_v1_are_one_object_a_row(serve_kind: Serve) -> None:
    instances = [{"a": a, "b": b} for a, b in zip(A, B, strict=True)]
    async with serve_kind("sums") as running:
        assert await running.post("/v1/models/m:predict", {"instances": instances}) == (
            200, {"predictions": [{"sum": [11.0, 22.0], "label": "33"}, {"sum": [33.0, 44.0], "label": "77"}]})
        assert await running.post("/v1/models/m:explain", {"instances": instances}) == (
            200, {"explanations": {"a": A, "b": B}})


async def test_batches_keep_to_the_models_own_bound(serve_kind: Serve) -> None:
    async with serve_kind("sums") as running:
        answers = await asyncio.gather(*(running.post("/v2/models/m/infer", pair(id=str(n))) for n in range(40)))
    assert [body["id"] for _, body in answers] == [str(n) for n in range(40)]
    assert all(body["outputs"][1]["data"] == ["33", "77"] for _, body in answers)
    assert max(running.model.rows) <= 4


# ---- gRPC


@pytest.mark.parametrize("raw", [True, False])
async def test_grpc_infer(serve_kind: Serve, raw: bool) -> None:
    inputs = {"a": np.array(A, np.float32), "b": np.array(B, np.float32)}
    async with serve_kind("sums") as running, Rpc.to(running.server.grpc_port) as rpc:
        code, answer = await rpc.call(SERVICE + "ModelInfer", infer_message("m", inputs, raw=raw, id="7"))
    assert code == 0
    name, id, outputs = read_response(answer)
    assert (name, id) == ("m", "7")
    assert outputs["sum"].tolist() == [[11.0, 22.0], [33.0, 44.0]]
    assert outputs["label"].tolist() == ["33", "77"]


@pytest.mark.parametrize(("method", "message", "code", "answer"), [
    ("ServerLive", b"", 0, b"\x08\x01"),
    ("ServerReady", b"", 0, b"\x08\x01"),
    ("ModelReady", wire.string(1, "m"), 0, b"\x08\x01"),
    ("ModelReady", wire.string(1, "m") + wire.string(2, "1"), 0, b"\x08\x01"),
    ("ModelReady", wire.string(1, "m") + wire.string(2, "9"), 5, b""),
    ("ModelReady", wire.string(1, "other"), 5, b""),
    ("ModelInfer", wire.string(1, "m"), 3, b""),
    ("ModelInfer", b"\xff\xff", 3, b""),
    ("ModelInfer", infer_message("other", {"a": np.ones((1, 2), np.float32)}), 5, b""),
    ("ModelInfer", infer_message("m", {"x": np.ones((1, 2), np.float32)}), 3, b""),
    ("RepositoryModelLoad", wire.string(1, "other"), 5, b""),
    ("RepositoryModelUnload", wire.string(2, "other"), 5, b""),
    ("ModelStreamInfer", b"", 12, b""),
])
async def test_grpc_methods(serve_kind: Serve, method: str, message: bytes, code: int, answer: bytes) -> None:
    async with serve_kind("sums") as running, Rpc.to(running.server.port) as rpc:
        assert await rpc.call(SERVICE + method, message) == (code, answer)


async def test_grpc_calls_share_predicts_with_each_other(serve_kind: Serve) -> None:
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float32)}
    async with serve_kind("sums") as running, Rpc.to(running.server.grpc_port) as rpc:
        answers = await asyncio.gather(*(rpc.call(SERVICE + "ModelInfer", infer_message("m", inputs))
                                         for _ in range(60)))
    assert {code for code, _ in answers} == {0}
    assert sum(running.model.rows) == 60
    assert len(running.model.rows) < 60


WHOLE = st.sampled_from(["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"])


@given(WHOLE, st.data())
def test_whole_numbers_pass_both_ways(datatype: str, data: st.DataObject) -> None:
    kind = np.dtype(datatype.lower())
    bounds = np.iinfo(kind)
    values = data.draw(st.lists(st.integers(int(bounds.min), int(bounds.max)), max_size=40))
    array = np.array(values, dtype=kind)
    coded = grpc_codec.packed(array)
    assert grpc_codec.unpacked(coded).astype(kind).tolist() == values
    assert grpc_codec.unpacked(coded).tolist() == [value % 2**64 for value in values]


@given(st.binary(max_size=200))
def test_no_message_does_more_than_be_refused(message: bytes) -> None:
    for read in (grpc_codec.infer_request, grpc_codec.names, lambda given: grpc_codec.flag(given, 2)):
        try:
            read(message)
        except (wire.Broken, tensors.InvalidTensor):
            continue


@pytest.mark.parametrize("array", [
    np.array([True, False]), np.array([-1, 5], np.int8), np.array([2**63], np.uint64), np.array([1.5], np.float32),
    np.array([1.5, -2.0]), np.array(["é", ""], dtype=object), np.array([1.5], np.float16), np.empty((0, 3)),
])
@pytest.mark.parametrize("raw", [True, False])
def test_every_datatype_is_written_and_read(array: Any, raw: bool) -> None:
    tensor = WholeTensor(name="t", datatype=tensors.datatype_of(array), shape=array.shape, array=array,
                         parameters={"s": "x", "b": False, "i": -3, "f": 0.5})
    message = grpc_codec.infer_response(("m", "1"), Inference(inputs=()), [tensor], raw=raw, parameters={"n": 2**40})
    _, _, outputs = read_response(message)
    assert outputs["t"].shape == array.shape
    assert outputs["t"].tolist() == array.tolist()


# ---- requests taken whole


async def test_whole_v1(serve_kind: Serve) -> None:
    async with serve_kind("whole") as running:
        async with running.client.post("/v1/models/m:explain", json={"any": [1]}, headers={"x-ask": "me"}) as answer:
            assert (answer.status, await answer.json()) == (200, {"verb": "explain", "got": {"any": [1]}})
            assert answer.headers["x-own"] == "me"
        for fail, status in (("503", 503), ("yes", 500)):
            got, body = await running.post("/v1/models/m:predict", {}, headers={"x-fail": fail})
            assert got == status
            assert isinstance(body["error"], str)


async def test_whole_v1_of_other_kinds_than_json(serve_kind: Serve) -> None:
    async with serve_kind("whole") as running:
        async with running.client.post("/v1/models/m:predict", data=b"\x89PNG", headers={
                "content-type": "image/png"}) as answer:
            assert (answer.content_type, await answer.read()) == ("image/png", b"GNP\x89")
        async with running.client.post("/v1/models/m:predict", json={}, headers={"x-stream": "a bc"}) as answer:
            assert (answer.content_type, await answer.text()) == ("text/plain", "abc")
        async with running.client.post("/v1/models/m:predict", json={}, headers={"x-stream": "raise"}) as answer:
            assert (answer.status, "broke" in await answer.text()) == (500, True)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with running.client.post("/v1/models/m:predict", json={}, headers={"x-stream": "a raise"}) as answer:
                await answer.read()
        assert (await running.get("/v2/health/live"))[0] == 200


async def test_a_model_cannot_break_the_wire_by_its_headers(serve_kind: Serve) -> None:
    async with serve_kind("whole") as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        # A bare CR in a header: whichever of the parser and the answer refuses it, it must not come back.
        writer.write(b"POST /v1/models/m:predict HTTP/1.1\r\nx-ask: a\rx-b: c\r\ncontent-length: 2\r\n"
                     b"connection: close\r\n\r\n{}")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert answer.split(b" ")[1] in (b"400", b"500")


async def test_whole_v2_and_grpc(serve_kind: Serve) -> None:
    async with serve_kind("whole") as running:
        status, body = await running.post("/v2/models/m/infer", pair(id="1", parameters={"k": 1}))
        assert status == 200
        assert body["parameters"] == {"k": 1, "protocol": "v2"}
        assert body["outputs"][0] == {"name": "a-out", "shape": [2, 2], "datatype": "FP32",
                                      "data": [1.0, 2.0, 3.0, 4.0], "parameters": {"seen": True}}
        async with Rpc.to(running.server.grpc_port) as rpc:
            _, answer = await rpc.call(SERVICE + "ModelInfer", infer_message("m", {"a": np.array(A)}))
        assert read_response(answer)[2]["a-out"].tolist() == A


async def test_a_whole_request_is_cancelled_with_its_client(serve_kind: Serve) -> None:
    async with serve_kind("whole") as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(b"POST /v1/models/m:predict HTTP/1.1\r\nx-wait: 1\r\ncontent-length: 2\r\n\r\n{}")
        await asyncio.wait_for(running.model.waiting.wait(), 20)
        writer.close()
        await asyncio.wait_for(running.model.cancelled.wait(), 20)


# ---- CloudEvents


@pytest.mark.parametrize("kind", ["sums", "whole"])
async def test_an_event_in_headers_is_answered_by_one(serve_kind: Serve, kind: str) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "me", "ce-type": "ask"}
    body = {"instances": [{"a": A[0], "b": B[0]}]}
    async with serve_kind(kind) as running:
        async with running.client.post("/v1/models/m:predict", json=body, headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            assert await answer.json() == ({"predictions": [{"sum": [11.0, 22.0], "label": "33"}]} if kind == "sums"
                                           else {"verb": "predict", "got": body})
            assert answer.headers["ce-source"] == "io.kserve.inference.m"
            assert answer.headers["ce-type"] == "io.kserve.inference.response"
            assert answer.headers["ce-id"] not in ("", "1")
            assert datetime.fromisoformat(answer.headers["ce-time"]).tzinfo is not None
        del headers["ce-type"]
        status, refusal = await running.post("/v1/models/m:predict", body, headers=headers)
        assert (status, "without type" in refusal["error"]) == (400, True)


@pytest.mark.parametrize("content_type", ["application/json", "application/cloudevents+json"])
async def test_an_event_as_a_whole_is_answered_by_one(serve_kind: Serve, content_type: str) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "me", "type": "ask", "time": "2026-01-01T00:00:00Z",
             "data": {"instances": [{"a": A[0], "b": B[0]}]}}
    async with serve_kind("sums") as running:
        async with running.client.post("/v1/models/m:predict", json=event, headers={
                "content-type": content_type}) as answer:
            assert (answer.status, answer.content_type) == (200, "application/cloudevents+json")
            got = await answer.json(content_type=None)
        assert got["data"] == {"predictions": [{"sum": [11.0, 22.0], "label": "33"}]}
        assert (got["type"], got["source"], got["specversion"]) == (
            "io.kserve.inference.response", "io.kserve.inference.m", "1.0")
        status, _ = await running.post("/v1/models/m:predict", {"specversion": "1.0"}, headers={
            "content-type": "application/cloudevents+json"})
        assert status == 400


def test_an_answer_may_keep_the_requests_attributes() -> None:
    asked = {"id": "1", "source": "me", "type": "a", "own": "x"}
    event = cloudevents.Event(data=b"", structured=False, attributes=asked)
    options = parse([], {"CE_MERGE": "true", "CE_TYPE": "mine", "CE_SOURCE": "here"}).events
    answer = cloudevents.answer(event, options, Response(200, b"{}"), model="m", fresh={"id": "2", "time": "now"})
    assert dict(answer.headers) == {b"ce-id": b"2", b"ce-source": b"here", b"ce-type": b"mine", b"ce-own": b"x",
                                    b"ce-time": b"now", b"ce-specversion": b"1.0"}


# ---- the repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, constant in (("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        save(tmp_path / name, constant)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.pkl").write_bytes(b"no pickle")
    return tmp_path


def save(folder: Path, constant: float) -> None:
    joblib.dump(DummyRegressor(strategy="constant", constant=constant).fit([[0]], [0]), folder / "model.joblib")


async def predicted(running: Running, name: str) -> Any:
    return await running.post(f"/v1/models/{name}:predict", {"instances": [[0]]})


async def test_models_come_and_go(folder: Path) -> None:
    server = ModelServer(Options(model_name="", model_dir=folder, multi_model=True, http_port=0, host="127.0.0.1"))
    await server.listen()
    await server.load()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        running = Running(server, client)
        index = (await running.post("/v2/repository/index", {}))[1]
        assert {row["name"]: row["state"] for row in index} == {
            "one": "READY", "two": "READY", "broken": "UNAVAILABLE"}
        assert "no pickle" not in index[0]["reason"]
        assert len((await running.post("/v2/repository/index", {"ready": True}))[1]) == 2
        assert await predicted(running, "two") == (200, {"predictions": [2.0]})
        status, body = await predicted(running, "broken")
        assert (status, "could not load" in body["error"]) == (503, True)
        assert (await running.get("/v2/models/broken/ready"))[0] == 503
        assert (await running.get("/v2/health/ready"))[0] == 200, "a broken model holds up no other"
        assert (await running.post("/v2/repository/models/broken/unload"))[0] == 200

        save(folder / "two", 3.0)
        assert await running.post("/v2/repository/models/two/load") == (200, {"name": "two", "load": True})
        assert await predicted(running, "two") == (200, {"predictions": [3.0]})
        (folder / "two" / "model.joblib").write_bytes(b"corrupt")
        status, body = await running.post("/v2/repository/models/two/load")
        assert (status, "could not load" in body["error"]) == (503, True)
        assert await predicted(running, "two") == (200, {"predictions": [3.0]}), "the old one goes on"

        assert await running.post("/v2/repository/models/one/unload") == (200, {"name": "one", "unload": True})
        assert (await predicted(running, "one"))[0] == 404
        assert await running.get("/v1/models") == (200, {"models": ["two"]})
        assert (await running.post("/v2/repository/models/one/load"))[0] == 200
        assert await predicted(running, "one") == (200, {"predictions": [1.0]})
    await server.drain()


async def test_what_waits_is_answered_by_the_model_it_asked(folder: Path) -> None:
    server = ModelServer(Options(model_name="", model_dir=folder, multi_model=True, http_port=0, host="127.0.0.1"))
    await server.listen()
    await server.load()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        running = Running(server, client)
        asked = [asyncio.ensure_future(predicted(running, "one")) for _ in range(30)]
        await asyncio.sleep(0)
        await running.post("/v2/repository/models/one/load")
        assert {status for status, _ in await asyncio.gather(*asked)} == {200}
    await server.drain()


async def test_an_unloaded_model_is_closed(serve_kind: Serve) -> None:
    async with serve_kind("sums") as running:
        assert (await running.post("/v2/repository/models/m/unload"))[0] == 200
        assert running.model.closed


# ---- the rest


async def test_compressed_bodies(serve_kind: Serve) -> None:
    import gzip
    import json

    body = gzip.compress(json.dumps(pair()).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    async with serve_kind("sums", limits=Limits(body_bytes=2000)) as running:
        async def status(data: bytes, encoding: str = "gzip") -> int:
            async with running.client.post("/v2/models/m/infer", data=data,
                                           headers=headers | {"content-encoding": encoding}) as answer:
                await answer.read()
                return answer.status

        assert await status(body) == 200
        assert await status(body[:-9]) == 400
        assert await status(b"none") == 400
        assert await status(gzip.compress(b" " * 1_000_000)) == 400
        assert await status(body, "br") == 415


async def test_other_methods_are_told_the_right_one(serve_kind: Serve) -> None:
    async with serve_kind("sums") as running:
        for method, path, allowed in (("GET", "/v1/models/m:predict", "POST"), ("DELETE", "/v2", "GET"),
                                      ("PUT", "/openai/v1/models", "GET"), ("GET", "/v2/repository/index", "POST")):
            async with running.client.request(method, path) as answer:
                assert (answer.status, answer.headers["allow"]) == (405, allowed)
                assert "error" in await answer.json()


async def test_the_access_log_is_a_switch(serve_kind: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lightship.modelserver.server")
    async with serve_kind("sums") as running:
        await running.get("/v1/models")
    assert not caplog.records
    async with serve_kind("sums", access_log=True) as running:
        await running.get("/v1/models?x=1")
    assert [(record.message, record.__dict__["path"], record.__dict__["status"]) for record in caplog.records] == [
        ("answered", "/v1/models?x=1", 200)]


async def test_metrics_have_upstreams_names(serve_kind: Serve) -> None:
    async with serve_kind("sums") as running:
        await running.post("/v2/models/m/infer", pair())
        await running.post("/v2/models/m/infer", {})
        async with running.client.get("/metrics") as answer:
            page = await answer.text()
    for name in ("preprocess", "predict", "postprocess"):
        assert f'request_{name}_seconds_count{{model_name="m"}} 1\n' in page
    assert 'lightship_predict_batch_rows_sum{model_name="m"} 2\n' in page
    assert 'lightship_refused_requests_total{status="400"} 1\n' in page


def test_flags() -> None:
    options = parse(["--model_name=iris", "--model_dir", "/m", "--http_port=9000", "--enable_latency_logging=true",
                     "--task=text_generation", "--dtype", "float16", "--trust-remote-code", "--max_batch_rows=8",
                     "--max_batch_latency_ms=50"], {"POD_IP": "127.1.2.3"})
    assert (options.model_name, options.http_port, options.access_log, options.host) == (
        "iris", 9000, True, "127.1.2.3")
    assert options.flags == {"task": "text_generation", "dtype": "float16", "trust_remote_code": "true"}
    assert (options.limits.batch_rows, options.limits.batch_latency_seconds) == (8, 0.05)
    assert parse(["--enable_grpc=false"], {}).grpc_port is None
