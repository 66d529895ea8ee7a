"""The page in a real browser: logging in, watching a run live, finding its model, dark and narrow, logging out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.browser.place import EVIL, Place, endpoint
from tests.sdks import sdk_python
from tests.unit.web import harness

SCRIPT = Path(__file__).with_name("browser_script.py")


@pytest.mark.browser
async def test_a_person_follows_a_run(page: Place, chromium: Path, tmp_path: Path) -> None:
    python = await asyncio.to_thread(sdk_python, "playwright")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    pictures = Path(os.environ.get("LIGHTSHIP_TEST_PICTURES", tmp_path))
    script = await asyncio.create_subprocess_exec(
        str(python), "-P", str(SCRIPT), page.site.url, harness.TOKEN, str(chromium), str(pictures / "page.png"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment)
    assert script.stdout is not None

    async def until(word: str) -> None:
        assert script.stdout is not None
        said = (await script.stdout.readline()).decode().strip()
        if said != word:
            _, complaint = await script.communicate()
            pytest.fail(f"the browser did not come to {word!r} but {said!r}:\n{complaint.decode()}")

    try:
        await until("empty")
        await page.add_run("run-1", "first run")
        await until("pending")
        await page.add_model("iris")
        await page.add_model(EVIL)
        page.endpoints = [endpoint("iris", ready=True), endpoint("broken", ready=False)]
        await page.end_run("run-1")
        await until("done")
    finally:
        if script.returncode is None:
            script.kill()
        await script.wait()
