"""An InferenceService on a whole platform: real Pods, a real gateway process, predictions equal to the model's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed in this environment")

from sklearn.datasets import load_breast_cancer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lightship import errors
from lightship.domains.serving import kinds
from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from tests.acceptance.serving.platform import failed, ready, serving_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS, LABELS = load_breast_cancer(return_X_y=True)


async def test_from_object_to_prediction_rollout_failure_and_deletion(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    constant = DummyClassifier(strategy="constant", constant=1).fit(ROWS, LABELS)
    async with serving_platform(tmp_path) as platform:
        await platform.put_model("minio://models/cancer/model.joblib", model)
        await platform.put_model("minio://models/constant/model", constant)
        await platform.artifacts.put("minio://models/broken/model.joblib", b"this is no pickle")

        # Served, and equal to the model's own.
        await platform.apply("cancer", {"sklearn": {"storageUri": "minio://models/cancer"}})
        service = await platform.wait("cancer", ready)
        url = service["status"]["url"]
        assert url == f"{platform.url}/serving/default/cancer"
        status, body = await platform.predict(url, ROWS.tolist(), "cancer")
        assert (status, body) == (200, {"predictions": model.predict(ROWS).tolist()})
        async with platform.http.get(f"{url}/v2/models/cancer/ready") as answer:
            assert answer.status == 401
        status, _ = await platform.predict(f"{platform.url}/serving/default/other", [[1]], "other")
        assert status == 404

        # A rollout under load drops nothing: every answer is one model's or the other's.
        stop = asyncio.Event()
        statuses: list[int] = []

        async def load() -> None:
            while not stop.is_set():
                status, _ = await platform.predict(url, ROWS[:1].tolist(), "cancer")
                statuses.append(status)

        clients = [asyncio.ensure_future(load()) for _ in range(3)]
        await platform.apply("cancer", {"sklearn": {"storageUri": "minio://models/constant/model"}})
        service = await platform.wait("cancer", ready)
        status, body = await platform.predict(url, ROWS.tolist(), "cancer")
        assert body == {"predictions": [1] * len(ROWS)}
        stop.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}
        revision = service["status"]["components"]["predictor"]["latestRolledoutRevision"]

        # A broken model says why, and the one before serves on.
        await platform.apply("cancer", {"sklearn": {"storageUri": "minio://models/broken"}})
        service = await platform.wait("cancer", failed)
        failure = service["status"]["modelStatus"]["lastFailureInfo"]
        assert failure["reason"] == "ModelLoadFailed"
        assert 'could not load "model.joblib"' in failure["message"]
        assert service["status"]["components"]["predictor"]["latestRolledoutRevision"] == revision
        assert (await platform.predict(url, ROWS[:1].tolist(), "cancer"))[0] == 200

        # So does a model that is not there.
        await platform.apply("missing", {"sklearn": {"storageUri": "minio://models/nothing"}})
        service = await platform.wait("missing", failed)
        failure = service["status"]["modelStatus"]["lastFailureInfo"]
        assert "nothing lies at minio://models/nothing" in failure["message"]

        # Deleting takes everything along.
        pods = platform.manager.informer(PODS)
        for name in ("cancer", "missing"):
            await platform.client.delete(kinds.INFERENCE_SERVICES, Key("default", name))
        async with asyncio.timeout(60):
            while pods.list("default"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        with pytest.raises(errors.NotFound):
            await platform.client.get(kinds.INFERENCE_SERVICES, "cancer", "default")
        async with asyncio.timeout(60):
            while (await platform.predict(url, [[1]], "cancer"))[0] != 404:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
