"""Whatever a client sends as a tensor is answered by a prediction or by a refusal in the contract's shape."""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import joblib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lightship.lib import protowire as wire
from lightship.modelserver import tensors, v1, v2
from lightship.modelserver.errors import InvalidTensor
from lightship.modelserver.options import Limits, Options
from lightship.modelserver.server import ModelServer
from tests.unit.modelserver.conftest import Serve
from tests.unit.modelserver.rpc import Rpc

NUMBERS = st.one_of(st.integers(-2**70, 2**70), st.floats(), st.booleans())
VALUES = st.recursive(st.one_of(NUMBERS, st.text(max_size=3), st.none()), lambda inner: st.lists(inner, max_size=4),
                      max_leaves=12)
SHAPES = st.lists(st.one_of(st.integers(-2, 4), st.integers(-2**70, 2**70)), max_size=4)
DATATYPES = st.sampled_from([*tensors.DATATYPES, "FP31", ""])
PARAMETERS = st.dictionaries(st.sampled_from(["binary_data_size", "binary_data", "x"]), st.one_of(NUMBERS, st.text()))
INPUTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", ""]), "shape": SHAPES, "datatype": DATATYPES},
    optional={"data": VALUES, "parameters": PARAMETERS})
REQUESTS = st.fixed_dictionaries({"inputs": st.lists(INPUTS, max_size=3)}, optional={
    "id": st.text(), "parameters": PARAMETERS,
    "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["sum", "none"])}), max_size=2)})


@settings(max_examples=300)
@given(REQUESTS, st.binary(max_size=64), st.one_of(st.none(), st.integers(-1, 400)))
def test_requests_are_read_or_refused(request: dict[str, Any], tail: bytes, claimed: int | None) -> None:
    head = json.dumps(request).encode()
    length = None if claimed is None and not tail else b"%d" % (len(head) if claimed is None else claimed)
    try:
        asked = v2.decode(head + tail, length)
    except InvalidTensor:
        return
    for tensor in asked.inputs:
        assert tensor.array.shape == tensor.shape
        assert tensors.datatype_of(tensor.array) == ("FP32" if tensor.datatype == "BF16" else tensor.datatype)


@given(st.one_of(st.binary(max_size=100), VALUES.map(lambda value: json.dumps({"instances": value}).encode())))
def test_instances_are_read_or_refused(body: bytes) -> None:
    try:
        assert v1.decode(body)
    except InvalidTensor:
        return


ARRAYS = st.one_of(
    *(st.lists(st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max)), max_size=9).map(
        lambda values, kind=kind: np.array(values, dtype=kind)) for kind in (np.int8, np.uint16, np.int64, np.uint64)),
    *(st.lists(st.floats(width=width, allow_nan=False, allow_infinity=False), max_size=9).map(
        lambda values, kind=kind: np.array(values, dtype=kind)) for width, kind in ((16, np.float16), (32, np.float32),
                                                                                  (64, np.float64))),
    st.lists(st.booleans(), max_size=9).map(lambda values: np.array(values, dtype=np.bool_)),
    st.lists(st.text(max_size=5), max_size=9).map(tensors.objects))


@given(ARRAYS, st.booleans())
@example(np.array([0, 2**63], np.uint64), False)
def test_every_tensor_comes_back_as_it_went(array: Any, binary: bool) -> None:
    datatype, shape = tensors.datatype_of(array), list(array.shape)
    if binary:
        found = tensors.from_bytes("t", datatype, shape, tensors.to_bytes(array))
    else:
        found = tensors.from_json("t", datatype, shape, json.loads(json.dumps(tensors.to_json(array))))
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_bytes_that_are_no_text_stay_bytes() -> None:
    raw = b"".join(struct.pack("<I", len(one)) + one for one in (b"\xff\x00", b"ok"))
    found = tensors.from_bytes("t", "BYTES", [2], raw)
    assert found.tolist() == [b"\xff\x00", b"ok"]
    assert tensors.to_bytes(found) == raw
    assert tensors.to_json(found) == ["/wA=", "ok"]


def test_bf16_is_read_as_float32() -> None:
    wide = np.array([1.0, -2.5, 3e38], np.float32)
    raw = (wide.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = tensors.from_bytes("t", "BF16", [3], raw)
    assert found.dtype == np.float32
    assert np.allclose(found, wide, rtol=0.01)


MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit([[0, 0], [1, 1]], [0, 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the model's own arithmetic may overflow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(REQUESTS.map(lambda one: json.dumps(one).encode()), st.binary(max_size=80),
                          VALUES.map(lambda value: json.dumps({"instances": value}).encode())),
                min_size=20, max_size=40))
def test_a_server_answers_whatever_it_is_sent(bodies: list[bytes]) -> None:
    async def run(folder: Path) -> None:
        joblib.dump(MODEL, folder / "model.joblib")
        server = ModelServer(Options(model_name="m", model_dir=folder, http_port=0, host="127.0.0.1"))
        await server.listen()
        await server.load()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
            for path in ("/v2/models/m/infer", "/v1/models/m:predict", "/openai/v1/embeddings"):
                for body in bodies:
                    async with client.post(path, data=body) as answer:
                        assert answer.status in (200, 400, 404, 501), (path, body, await answer.text())
                        assert answer.status == 200 or (await answer.json())["error"]
        await server.drain()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


@pytest.mark.parametrize("size", [2**31, 2**40])
async def test_sizes_that_would_fill_memory_are_refused_unallocated(serve_kind: Serve, size: int) -> None:
    described = wire.string(1, "a") + wire.string(2, "FP64") + wire.field(3, b"\x80\x80\x80\x80\x80\x20")
    async with serve_kind("sums") as running:
        for shape in ([size], [size, 0], [0, size]):
            status, body = await running.post("/v2/models/m/infer", {"inputs": [
                {"name": "a", "shape": shape, "datatype": "FP64", "data": [1.0]}]})
            assert (status, bool(body["error"])) == (400, True)
        async with Rpc.to(running.server.port) as rpc:
            code, _ = await rpc.call("/inference.GRPCInferenceService/ModelInfer",
                                     wire.string(1, "m") + wire.field(5, described) + wire.field(7, b"12345678"))
        assert code == 3


async def test_bodies_over_the_limit_are_refused_over_both(serve_kind: Serve) -> None:
    async with serve_kind("sums", limits=Limits(body_bytes=50_000)) as running:
        async with running.client.post("/v2/models/m/infer", data=b"1" * 60_000) as answer:
            assert (answer.status, "50000" in (await answer.json())["error"]) == (413, True)
        assert (await running.get("/v2/health/ready"))[0] == 200


async def test_nested_past_any_use(serve_kind: Serve) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    async with serve_kind("sums") as running:
        for path, body in (("/v1/models/m:predict", b'{"instances": ' + deep + b"}"),
                           ("/v2/models/m/infer", b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", '
                            b'"data": ' + deep + b"}]}")):
            assert (await running.post(path, data=body))[0] == 400
