"""A person at the page, in a real browser. Run under playwright's own Python: URL, token, browser, picture's path."""

import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

url, token, program, picture = sys.argv[1:]


def say(word: str) -> None:
    print(word, flush=True)


with sync_playwright() as tools:
    browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto(url)
    expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("That token is not valid.")
    complaints.clear()  # The browser itself reports the two 401s.
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    expect(page.get_by_text("No runs yet")).to_be_visible()
    say("empty")

    row = page.get_by_role("row").filter(has_text="first run")
    expect(row).to_contain_text("Pending")
    say("pending")
    expect(row).to_contain_text("Succeeded")
    page.screenshot(path=picture, full_page=True)
    page.get_by_role("link", name="first run").click()
    expect(page.get_by_role("heading", name="first run")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="ingest")).to_contain_text("Cached")
    page.screenshot(path=picture.replace(".png", "-run.png"), full_page=True)
    page.get_by_role("link", name="model", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="weights.bin").click()
    assert Path(download.value.path()).read_bytes() == b"weights"

    page.goto(f"{url}/#/runs/details/run-1")
    page.wait_for_url(f"{url}/runs/run-1")
    assert page.title() == "first run · Lightship", page.title()
    assert not page.evaluate("document.cookie"), "the session's cookie can be read by scripts"

    dark = browser.new_context(color_scheme="dark", storage_state=page.context.storage_state(),
                               viewport={"width": 380, "height": 800})
    small = dark.new_page()
    small.goto(url)
    assert small.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"
    assert small.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    small.screenshot(path=picture.replace(".png", "-dark.png"), full_page=True)

    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    complaints = [text for text in complaints if "401" not in text]
    assert not complaints, complaints
    browser.close()
say("done")
