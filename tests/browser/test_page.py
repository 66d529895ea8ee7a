"""What the page says, without a browser: its text, its links, its escaping, its access."""

from __future__ import annotations

import re

from lightship.web.page.html import Markup, link, tag
from tests.browser.place import EVIL, Place, endpoint


async def test_an_empty_platform_says_what_to_do_next(page: Place) -> None:
    text = (await page.site.get("/")).text

    for words in ("No runs yet", "lightship demo", "No model versions yet", "No endpoints yet"):
        assert words in text


async def test_runs_models_and_endpoints_are_listed_with_links(page: Place) -> None:
    await page.add_run("run-1", "first")
    await page.end_run("run-1")
    await page.add_model("iris")
    page.endpoints = [endpoint("iris", ready=True), endpoint("broken", ready=False)]
    text = (await page.site.get("/")).text

    assert '<a href="/runs/run-1">first</a>' in text
    assert '<span class="state good">Succeeded</span>' in text
    assert re.search(r"<td>iris</td><td>7</td>.*its run.*minio://b/model", text)
    assert '<a href="http://127.0.0.1:8782/serving/default/iris">' in text
    assert "no Pod is ready" in text
    assert 'href="javascript' not in text


async def test_a_run_shows_its_steps_their_values_and_errors(page: Place) -> None:
    await page.add_run("run-1", "first")
    await page.end_run("run-1", error="ValueError: <b>no</b>")
    text = (await page.site.get("/runs/run-1")).text

    names = re.findall(r'<span class="step depth-\d">([\w\[\]]+)', text)
    assert names == ["ingest", "loop", "loop[2]", "loop[10]", "train"]
    assert "Cached" in text
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in text
    assert '<a href="/artifacts/art-1">model</a>' in text
    assert "train-pod" in text
    assert "<code>0.1</code>" in text


async def test_an_artifact_shows_its_files_and_where_it_came_from(page: Place) -> None:
    await page.add_run("run-1", "first")
    await page.end_run("run-1")
    text = (await page.site.get("/artifacts/art-1")).text

    assert '<a href="/runs/run-1">its run</a>' in text
    assert "&lt;b&gt;odd&amp;name.txt" in text
    assert "2.5 MB" in text
    target = re.search(r'href="(/apis/v2beta1/artifacts/art-1:download\?path=weights.bin)"', text)
    assert target
    assert (await page.site.get(target[1])).body == b"weights"


async def test_whatever_users_write_stays_text(page: Place) -> None:
    await page.add_run("run-1", EVIL, pipeline_name=EVIL, parameters={EVIL: EVIL})
    await page.end_run("run-1", error=EVIL)
    await page.add_model(EVIL)
    page.endpoints = [endpoint(EVIL, ready=False)]

    for path in ("/", "/runs/run-1", "/artifacts/art-1"):
        text = (await page.site.get(path)).text
        assert "<img" not in text
        assert text.count("<script") == 1  # Our own.


async def test_older_runs_are_one_link_away(page: Place) -> None:
    for number in range(30):
        await page.add_run(f"run-{number:02}", f"name {number:02}")
    first = (await page.site.get("/")).text
    more = re.search(r'<a href="(/\?after=[^"]+)">Older runs</a>', first)
    assert more
    second = (await page.site.get(more[1])).text

    assert "name 29" in first
    assert "name 04" not in first
    assert "name 04" in second
    assert "name 29" not in second
    assert "Older runs" not in second


async def test_one_sees_only_what_one_may(page: Place) -> None:
    await page.add_run("run-1", "secret-run")
    await page.end_run("run-1")
    await page.add_model("secret-model")
    page.endpoints = [endpoint("secret-endpoint", ready=True)]
    page.site.allow = lambda asked: False

    assert "secret" not in (await page.site.get("/")).text
    assert (await page.site.get("/runs/run-1")).status == 403
    assert (await page.site.get("/artifacts/art-1")).status == 403
    for path in ("/", "/runs/run-1", "/artifacts/art-1", "/events", "/static/page.css", "/static/page.js"):
        assert (await page.site.get(path, token=None)).status == 401


async def test_the_first_page_takes_few_queries(page: Place) -> None:
    for number in range(20):
        await page.add_run(f"run-{number}", "r")
    before = page.database.statements
    await page.site.get("/")

    assert page.database.statements - before == 3


def test_markup_is_made_only_by_escaping() -> None:
    assert tag("p", "<b>", tag("i", "&"), None, ["x", "y"], title='"', class_="c") == Markup(
        '<p title="&quot;" class="c">&lt;b&gt;<i>&amp;</i>xy</p>')
    for target in ("javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://x"):
        assert link(target, "x") == "<span>x</span>"
