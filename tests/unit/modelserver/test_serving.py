"""The endpoints, over real models: answers equal the model's own, failures have the contract's shape."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lightship.modelserver.options import Limits
from tests.unit.modelserver import models_for_tests as own
from tests.unit.modelserver.conftest import Serve

ROWS, LABELS = load_breast_cancer(return_X_y=True)
CLASSIFIER = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)


@pytest.fixture(autouse=True)
def gates() -> Any:
    own.GATE.clear()
    own.STARTED.clear()
    own.CALLS.clear()
    yield
    own.GATE.set()


async def started() -> None:
    assert await asyncio.to_thread(own.STARTED.wait, 30)


async def test_v1_predict_equals_the_models_own(serve: Serve) -> None:
    async with serve(CLASSIFIER) as running:
        status, body = await running.post("/v1/models/m:predict", {"instances": ROWS.tolist()})
    assert (status, body) == (200, {"predictions": CLASSIFIER.predict(ROWS).tolist()})


async def test_requests_at_once_get_their_own_rows(serve: Serve) -> None:
    forest = RandomForestClassifier(20, random_state=0).fit(ROWS, LABELS)
    expected = forest.predict(ROWS).tolist()
    async with serve(forest) as running:
        slices = [(start, start + 1 + start % 5) for start in range(0, 300, 3)]
        answers = await asyncio.gather(*(
            running.post("/v1/models/m:predict", {"instances": ROWS[a:b].tolist()}) for a, b in slices))
    assert [body["predictions"] for _, body in answers] == [expected[a:b] for a, b in slices]


async def test_predict_proba_is_taken_where_it_is_asked_for(serve: Serve) -> None:
    async with serve(CLASSIFIER, predict_proba=True) as running:
        _, body = await running.post("/v1/models/m:predict", {"instances": ROWS[:3].tolist()})
    assert body["predictions"] == CLASSIFIER.predict_proba(ROWS[:3]).tolist()


async def test_text_instances(serve: Serve) -> None:
    texts, labels = ["good fine", "bad poor", "fine good good", "poor"], ["yes", "no", "yes", "no"]
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, labels)
    async with serve(model) as running:
        assert await running.post("/v1/models/m:predict", {"instances": texts}) == (200, {"predictions": labels})
        status, body = await running.post("/v2/models/m/infer", {"inputs": [
            {"name": "text", "shape": [4], "datatype": "BYTES", "data": texts}]})
    assert status == 200
    assert body["outputs"][0] | {"name": ""} == {"name": "", "shape": [4], "datatype": "BYTES", "data": labels}


@pytest.mark.parametrize(("datatype", "kind"), [("FP64", np.float64), ("FP32", np.float32)])
async def test_v2_infer_equals_the_models_own(serve: Serve, datatype: str, kind: Any) -> None:
    rows = ROWS[:7].astype(kind)
    async with serve(CLASSIFIER) as running:
        status, body = await running.post("/v2/models/m/versions/1/infer", {
            "id": "42", "inputs": [
                {"name": "x", "shape": [7, 30], "datatype": datatype, "data": rows.ravel().tolist()}]})
    assert status == 200
    assert body == {"model_name": "m", "model_version": "1", "id": "42", "outputs": [
        {"name": "output-0", "shape": [7], "datatype": "INT64", "data": CLASSIFIER.predict(rows).tolist()}]}


async def test_v2_binary_both_ways(serve: Serve) -> None:
    regressor = LinearRegression().fit(ROWS, LABELS)
    raw = ROWS[:5].tobytes()
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [
        {"name": "x", "shape": [5, 30], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}]}).encode()
    async with serve(regressor) as running, running.client.post(
            "/v2/models/m/infer", data=head + raw,
            headers={"Inference-Header-Content-Length": str(len(head))}) as answer:
        body = await answer.read()
        cut = int(answer.headers["Inference-Header-Content-Length"])
    output = json.loads(body[:cut])["outputs"][0]
    assert output["parameters"]["binary_data_size"] == len(body) - cut == 40
    assert struct.unpack("<5d", body[cut:]) == tuple(regressor.predict(ROWS[:5]))


async def test_what_queued_meanwhile_is_one_batch(serve: Serve) -> None:
    async with serve(own.Gated()) as running:
        first = asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[0]]}))
        await started()
        # A model of the user's own is never merged; these wait for their turn one by one.
        others = [asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[i]]})) for i in (1, 2)]
        own.GATE.set()
        answers = [await first, *[await other for other in others]]
    assert [body["predictions"] for _, body in answers] == [[0], [1], [2]]
    assert own.CALLS == [1, 1, 1]


async def test_a_model_that_sees_its_batch_is_never_merged(serve: Serve) -> None:
    async with serve(own.BatchMean()) as running:
        answers = await asyncio.gather(*(
            running.post("/v1/models/m:predict", {"instances": [[i], [i + 2]]}) for i in range(30)))
    assert all(body == {"predictions": [-1.0, 1.0]} for _, body in answers)


async def test_a_slow_predict_holds_up_no_health_check(serve: Serve) -> None:
    async with serve(own.Gated(), limits=Limits(queue_requests=1)) as running:
        slow = asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[7]]}))
        await started()
        assert (await running.get("/v2/health/ready"))[0] == 200
        waiting = asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[8]]}))
        # One runs and one waits: whichever of these two comes second finds the queue full.
        other = asyncio.ensure_future(running.post("/v1/models/m:predict", {"instances": [[8]]}))
        done, _ = await asyncio.wait((waiting, other), return_when=asyncio.FIRST_COMPLETED)
        status, body = done.pop().result()
        assert status == 503
        assert "waiting" in body["error"]
        own.GATE.set()
        assert await slow == (200, {"predictions": [7]})
        assert sorted([(await waiting)[0], (await other)[0]]) == [200, 503]


async def test_a_raising_predict_fails_only_its_request(serve: Serve) -> None:
    async with serve(own.Raising()) as running:
        status, body = await running.post("/v1/models/m:predict", {"instances": [[-1]]})
        assert status == 500
        assert body == {"error": 'predict of model "m" raised ArithmeticError: no negatives'}
        assert await running.post("/v1/models/m:predict", {"instances": [[3]]}) == (200, {"predictions": [3]})
        assert (await running.get("/v2/health/ready"))[0] == 200


V1 = "/v1/models/m:predict"
INFER = "/v2/models/m/infer"


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 30], "datatype": "FP64", "data": [0.5] * 30} | changes]}


@pytest.mark.parametrize(("path", "body", "status", "words"), [
    (V1, b"{", 400, "not JSON"),
    (V1, b'{"instances":' + b"[" * 100_000, 400, "not JSON"),
    (V1, b"\xff\xfe", 400, "not JSON"),
    (V1, b"[]", 400, "V1 request"),
    (V1, b"{}", 400, "instances"),
    (V1, b'{"instances": 3}', 400, "instances"),
    (V1, b'{"instances": []}', 400, "empty"),
    (V1, b'{"instances": [[]]}', 400, "at least one"),
    (V1, b'{"instances": [[1, 2], [1]]}', 400, "ragged"),
    (V1, b'{"instances": [[1, 2]]}', 400, "model takes 30"),
    (V1, b'{"instances": [1, 2]}', 400, "refused the input"),
    (V1, json.dumps({"instances": [["x"] * 30]}).encode(), 400, "refused the input"),
    (V1, json.dumps({"instances": [[None] * 30]}).encode(), 400, "refused the input"),
    ("/v1/models/m:explain", b"{}", 501, "explainer"),
    ("/v1/models/m:fly", b"{}", 404, "fly"),
    ("/v1/models/other:predict", b"{}", 404, "other"),
    ("/v2/models/other/infer", b"{}", 404, "other"),
    ("/v2/models/m/versions/9/infer", b"{}", 404, "version"),
    ("/v2/repository/models/other/load", b"{}", 404, "other"),
    ("/v2/repository/models/other/unload", b"{}", 404, "other"),
    ("/v2/repository/models/%2e%2e%2fx/load", b"{}", 400, "name"),
    ("/v2/repository/index", b"{", 400, "index"),
    ("/openai/v1/completions", b'{"model": "m", "prompt": "x"}', 501, "generate"),
    ("/openai/v1/completions", b'{"model": "other", "prompt": "x"}', 404, "other"),
    ("/openai/v1/fly", b"{}", 404, "fly"),
    (INFER, b'{"inputs": []}', 400, "empty"),
    (INFER, json.dumps(tensor(shape=[2, 30])).encode(), 400, "60 values"),
    (INFER, json.dumps(tensor(shape=[-1, 30])).encode(), 400, "sizes"),
    (INFER, json.dumps(tensor(shape=[2**40, 2**40])).encode(), 400, "too large"),
    (INFER, json.dumps(tensor(datatype="FP31")).encode(), 400, "FP31"),
    (INFER, json.dumps(tensor(datatype="INT64")).encode(), 400, "does not fit"),
    (INFER, json.dumps(tensor(datatype="INT8", data=[300] * 30)).encode(), 400, "outside INT8"),
    (INFER, json.dumps(tensor(data=["1"] * 30)).encode(), 400, "does not fit"),
    (INFER, json.dumps(tensor(data=[[1], [2, 3]])).encode(), 400, "ragged"),
    (INFER, json.dumps(tensor(parameters={"binary_data_size": 8})).encode(), 400, "binary_data_size"),
    (INFER, json.dumps(tensor() | {"outputs": [{"name": "nope"}]}).encode(), 400, "no output"),
])
async def test_bad_requests(serve: Serve, path: str, body: bytes, status: int, words: str) -> None:
    async with serve(CLASSIFIER) as running:
        got, answer = await running.post(path, data=body)
        assert got == status
        assert list(answer) == ["error"]
        assert words in str(answer["error"])
        assert (await running.post(V1, {"instances": ROWS[:1].tolist()}))[0] == 200


async def test_health_and_metadata(serve: Serve) -> None:
    async with serve(CLASSIFIER) as running:
        assert await running.get("/") == (200, {"status": "alive"})
        assert await running.get("/v1/models") == (200, {"models": ["m"]})
        assert await running.get("/v1/models/m") == (200, {"name": "m", "ready": True})
        assert (await running.get("/v2/"))[1]["extensions"] == ["binary_tensor_data", "model_repository"]
        assert await running.get("/v2/health/live") == (200, {"live": True})
        assert await running.get("/v2/models/m/ready") == (200, {"name": "m", "ready": True})
        _, metadata = await running.get("/v2/models/m")
        assert metadata["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 30]}]
        assert (await running.get(V1))[0] == 405
        await running.post(V1, {"instances": ROWS[:1].tolist()})
        async with running.client.get("/metrics") as answer:
            text = await answer.text()
    assert 'request_predict_seconds_count{model_name="m"} 1' in text


async def test_before_the_model_is_loaded(serve: Serve) -> None:
    async with serve(CLASSIFIER, load=False) as running:
        assert (await running.get("/v2/health/live"))[0] == 200
        assert (await running.get("/v2/health/ready"))[0] == 503
        assert (await running.get("/v1/models/m"))[0] == 503
        status, body = await running.post(V1, {"instances": [[1]]})
        assert status == 503
        assert "not ready" in body["error"]
        await running.server.load()
        assert (await running.get("/v2/health/ready"))[0] == 200
