"""TrainedModels on a whole platform: several models in one server that come, change and go while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed in this environment")

from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier

from lightship.domains.serving import kinds
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from tests.acceptance.serving.platform import WAIT_SECONDS, Serving, ready, serving_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS, LABELS = load_iris(return_X_y=True)


async def apply(platform: Serving, name: str, **model: Any) -> None:
    await platform.client.patch(kinds.TRAINED_MODELS, Key("default", name), {
        "apiVersion": "serving.kserve.io/v1alpha1", "kind": "TrainedModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"inferenceService": "many", "model": {"framework": "sklearn", "memory": "256Mi", **model}}},
        type="apply")


async def wait(platform: Serving, name: str, wanted: Callable[[Object], bool]) -> Object:
    done: asyncio.Future[Object] = asyncio.get_running_loop().create_future()

    def look(old: Object | None, new: Object | None) -> None:
        if new is not None and objects.name(new) == name and wanted(new) and not done.done():
            done.set_result(new)

    unsubscribe = platform.manager.informer(kinds.TRAINED_MODELS).subscribe(look)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return await done
    except TimeoutError:
        found = await platform.client.get(kinds.TRAINED_MODELS, name, "default")
        raise AssertionError(f"{found}\n{await platform.story('many')}") from None
    finally:
        unsubscribe()


def is_ready(model: Object) -> bool:
    return conditions.is_true(model, "Ready")


async def ask_until(platform: Serving, url: str, name: str, wanted: Callable[[int, Any], bool]) -> list[int]:
    """Ask a model until its answer is as wanted; all statuses before."""
    statuses: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while not wanted(*(answer := await platform.predict(url, ROWS[:1].tolist(), name))):
            statuses.append(answer[0])
    return statuses


async def test_models_come_change_and_go(tmp_path: Path) -> None:
    async with serving_platform(tmp_path) as platform:
        for constant in (0, 1, 2):
            model = DummyClassifier(strategy="constant", constant=constant).fit(ROWS, LABELS)
            await platform.put_model(f"minio://models/{constant}/model.joblib", model)
        await platform.artifacts.put("minio://models/broken/model.joblib", b"no pickle")
        await apply(platform, "one", storageUri="minio://models/1")
        await platform.apply("many", {"sklearn": {"resources": {"limits": {"memory": "1Gi"}}}})
        service = await platform.wait("many", ready)
        url = service["status"]["url"]

        # One that was there before the service, and one that comes to it.
        await apply(platform, "two", storageUri="minio://models/2")
        for name in ("one", "two"):
            found = await wait(platform, name, is_ready)
            assert found["status"]["url"] == f"{url}/v1/models/{name}:predict"
        assert await platform.predict(url, ROWS[:1].tolist(), "one") == (200, {"predictions": [1]})
        assert await platform.predict(url, ROWS[:1].tolist(), "two") == (200, {"predictions": [2]})

        # A broken one and one beyond the server's memory say why, and hold up nobody.
        await apply(platform, "broken", storageUri="minio://models/broken")
        await apply(platform, "big", storageUri="minio://models/0", memory="2Gi")
        found = await wait(platform, "big", lambda model: bool((model.get("status") or {}).get("conditions")))
        assert (conditions.find(found, "Ready") or {})["reason"] == "MemoryResourceNotAvailable"
        found = await wait(platform, "broken", lambda model: "could not load" in str(conditions.find(model, "Ready")))

        # A new version takes the place of the old one; one that is deleted is let go.
        await apply(platform, "one", storageUri="minio://models/0")
        statuses = await ask_until(platform, url, "one", lambda status, body: body == {"predictions": [0]})
        assert set(statuses) == {200}  # the one before answers meanwhile
        await platform.client.delete(kinds.TRAINED_MODELS, Key("default", "two"))
        await ask_until(platform, url, "two", lambda status, body: status == 404)
        assert (await platform.predict(url, ROWS[:1].tolist(), "one"))[0] == 200
