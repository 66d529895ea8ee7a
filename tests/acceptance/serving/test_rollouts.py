"""Rollouts, canaries and their promotion under load: real Pods, a real gateway, and not one request lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed in this environment")

from sklearn.dummy import DummyClassifier

from tests.acceptance.serving.platform import Serving, ready, serving_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROLLOUTS = 20
CLIENTS = 4
ROW = [[0.0, 1.0]]


class Load:
    """Clients that ask without a pause, and what they were answered."""

    def __init__(self, platform: Serving, url: str, model: str) -> None:
        self._platform, self._url, self._model = platform, url, model
        self._stop = asyncio.Event()
        self.answers: Counter[tuple[int, str]] = Counter()

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.ensure_future(self._ask()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *problem: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _ask(self) -> None:
        while not self._stop.is_set():
            status, body = await self._platform.predict(self._url, ROW, self._model)
            self.answers[status, str(body)] += 1


def predictor(number: int, **more: Any) -> dict[str, Any]:
    return {"sklearn": {"storageUri": f"minio://models/{number % 2}"}, "annotations": {"number": str(number)}, **more}


async def put_models(platform: Serving) -> None:
    for label in (0, 1):
        model = DummyClassifier(strategy="constant", constant=label).fit([[0, 0], [1, 1]], [0, 1])
        await platform.put_model(f"minio://models/{label}/model.joblib", model)


@pytest.mark.proof
async def test_twenty_rollouts_lose_no_request(tmp_path: Path) -> None:
    async with serving_platform(tmp_path) as platform:
        await put_models(platform)
        await platform.apply("rolling", predictor(0))
        url = (await platform.wait("rolling", ready))["status"]["url"]
        async with Load(platform, url, "rolling") as load:
            for number in range(1, ROLLOUTS + 1):
                await platform.apply("rolling", predictor(number))
                service = await platform.wait("rolling", ready)
                status, body = await platform.predict(url, ROW, "rolling")
                assert (status, body) == (200, {"predictions": [number % 2]}), "it is told ready before it is"
        assert {status for status, _ in load.answers} == {200}, load.answers
        assert service["status"]["components"]["predictor"]["latestRolledoutRevision"] == "rolling-predictor-00021"


async def test_a_canary_gets_its_share_and_its_promotion_loses_nothing(tmp_path: Path) -> None:
    async with serving_platform(tmp_path) as platform:
        await put_models(platform)
        await platform.apply("birds", predictor(0))
        url = (await platform.wait("birds", ready))["status"]["url"]
        async with Load(platform, url, "birds") as all_of_it:
            await platform.apply("birds", predictor(1, canaryTrafficPercent=25))
            service = await platform.wait("birds", ready)
            assert [target["percent"] for target in service["status"]["components"]["predictor"]["traffic"]] == [25, 75]
            asked = [(await platform.predict(url, ROW, "birds"))[1]["predictions"][0] for _ in range(100)]
            assert 10 <= sum(asked) <= 40
            # By the tag alone, one of them can be asked.
            async with platform.http.post(f"{url}/v1/models/birds:predict", json={"instances": ROW}, headers={
                    "Authorization": f"Bearer {platform.api.token}", "Knative-Serving-Tag": "prev"}) as answer:
                assert await answer.json() == {"predictions": [0]}
            await platform.apply("birds", predictor(1, canaryTrafficPercent=100))
            await platform.wait("birds", ready)
            assert [(await platform.predict(url, ROW, "birds"))[1] for _ in range(10)] == [{"predictions": [1]}] * 10
            # And back to where it was.
            await platform.apply("birds", predictor(1, canaryTrafficPercent=0))
            await platform.wait("birds", lambda service: ready(service) and service["status"]["components"][
                "predictor"]["traffic"][0]["percent"] == 0)
            async with asyncio.timeout(30):
                while (await platform.predict(url, ROW, "birds"))[1] != {"predictions": [0]}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        assert {status for status, _ in all_of_it.answers} == {200}, all_of_it.answers
