"""Pipelines of ``authored.py``, compiled by the kfp SDK as a user compiles them, end as their code says.

``authored.json`` has their stories: what every step was given and gave.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio

from lightship.domains.pipelines import names
from lightship.kube.resources import PERSISTENT_VOLUME_CLAIMS
from tests.acceptance.pipelines import story
from tests.acceptance.pipelines.harness import WAIT_SECONDS, Platform
from tests.sdks import sdk_python

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.sdk]

HERE = Path(__file__).parent
STORIES = json.loads((HERE / "authored.json").read_text())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authored")
    python = sdk_python("kfp==2.17.0", "kfp-kubernetes==2.17.0")
    done = subprocess.run([str(python), str(HERE / "authored.py"), str(folder)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert not done.returncode, done.stderr
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def letters(shared_platform: Platform) -> None:
    """What importers import."""
    for name in ("a.txt", "b.txt"):
        await shared_platform.artifacts.put(f"minio://mlpipeline/imported/letters/{name}", name[:1].encode())


async def test_every_authored_pipeline_has_a_story(compiled: Path) -> None:
    assert {path.stem for path in await asyncio.to_thread(lambda: list(compiled.iterdir()))} == set(STORIES)


@pytest.mark.parametrize("name", sorted(STORIES))
async def test_it_ends_as_its_code_says(name: str, compiled: Path, shared_platform: Platform) -> None:
    done = await shared_platform.run(await asyncio.to_thread((compiled / f"{name}.yaml").read_bytes))
    told = await story.of(done, shared_platform)
    assert not story.differences(STORIES[name], told), done.run.error
    if name == "workspace":
        await _gone(shared_platform, names.workspace(done.run.run_id))


async def _gone(platform: Platform, claim: str) -> None:
    """A workspace goes when its run has succeeded."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = await platform.client("tests").list(PERSISTENT_VOLUME_CLAIMS)
            if claim not in {one["metadata"]["name"] for one in found.items}:
                return
            await asyncio.sleep(0.02)
