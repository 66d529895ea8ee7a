"""InferenceGraphs on a whole platform: upstream's four examples as they are written, but for where the models lie."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("sklearn", reason="scikit-learn is not installed in this environment")

from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier

from lightship.domains.serving import kinds
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from tests.acceptance.serving.platform import WAIT_SECONDS, Serving, ready, serving_platform

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "kserve"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600),
              pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not here")]

ROWS, LABELS = load_iris(return_X_y=True)
QUESTION = {"instances": ROWS[:2].tolist()}


def example(name: str) -> Object:
    found: Object = next(obj for obj in yaml.safe_load_all((CORPUS / f"{name}.yaml").read_text())
                         if obj and obj["kind"] == "InferenceGraph")
    return found


async def apply(platform: Serving, graph: Object) -> str:
    """The graph's URL, once it is ready."""
    name = graph["metadata"]["name"]
    graph = graph | {"metadata": {"name": name, "namespace": "default"}}
    await platform.client.patch(kinds.INFERENCE_GRAPHS, Key("default", name), graph, type="apply")
    done: asyncio.Future[Object] = asyncio.get_running_loop().create_future()

    def look(old: Object | None, new: Object | None) -> None:
        if (new is not None and objects.name(new) == name and conditions.is_true(new, "Ready") and not done.done()
                and objects.status(new).get("observedGeneration") == objects.generation(new)):
            done.set_result(new)

    unsubscribe = platform.manager.informer(kinds.INFERENCE_GRAPHS).subscribe(look)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return str((await done)["status"]["url"])
    except TimeoutError:
        raise AssertionError(await platform.client.get(kinds.INFERENCE_GRAPHS, name, "default")) from None
    finally:
        unsubscribe()


def good(status: int) -> bool:
    return status == 200


async def ask(platform: Serving, url: str, body: Any, check: Callable[[int], bool] = good) -> Any:
    async with platform.http.post(url, json=body, headers={"Authorization": f"Bearer {platform.api.token}"}) as answer:
        found = await answer.json(content_type=None)
        assert check(answer.status), (answer.status, found)
        return found


async def test_upstreams_examples(tmp_path: Path) -> None:
    async with serving_platform(tmp_path) as platform:
        for name, constant in (("sklearn-iris", 1), ("xgboost-iris", 2)):
            model = DummyClassifier(strategy="constant", constant=constant).fit(ROWS, LABELS)
            await platform.put_model(f"minio://models/{name}/model.joblib", model)
            await platform.apply(name, {"sklearn": {"storageUri": f"minio://models/{name}"}})
        for name in ("sklearn-iris", "xgboost-iris"):
            await platform.wait(name, ready)

        url = await apply(platform, example("sequence"))
        assert await ask(platform, url, QUESTION) == {"predictions": [2, 2]}

        url = await apply(platform, example("ensemble"))
        assert await ask(platform, url, QUESTION) == {
            "sklearn-iris": {"predictions": [1, 1]}, "xgboost-iris": {"predictions": [2, 2]}}

        url = await apply(platform, example("splitter"))
        told = Counter([(await ask(platform, url, QUESTION))["predictions"][0] for _ in range(100)])
        assert told.total() == 100
        assert told[1] < told[2]
        async with platform.http.post(url, json=QUESTION) as answer:
            assert answer.status == 401

        switch = example("switch")
        names = ("sklearn-iris", "xgboost-iris", "xgboost-iris")
        for step, name in zip(switch["spec"]["nodes"]["root"]["steps"], names, strict=True):
            step["serviceUrl"] = f"http://{name}-predictor.default.svc.cluster.local/v1/models/{name}:predict"
        url = await apply(platform, switch)
        assert await ask(platform, url, QUESTION | {"source": "client"}) == {"predictions": [1, 1]}
        body = await ask(platform, url, QUESTION, lambda status: status == 404)
        assert "None of the routes matched" in body["cause"]
