"""What git tracks names no package registry and no path of one machine, and every example and script can be read."""

from __future__ import annotations

import re

import pytest

from tests.tidy import contract, source

EXEMPT = {"tests/tidy/contract.py"}  # it must name what it forbids
CORPUS = "tests/corpus/"
"""Files of upstream's, kept as they are: they name the homes of their images' users."""
MAXIMUM_FILE_BYTES = 1_000_000


@pytest.mark.parametrize(("what", "pattern"), contract.FORBIDDEN_TEXT)
def test_no_tracked_file_holds(what: str, pattern: str) -> None:
    wrong = []
    for path in source.tracked_files():
        place = str(path.relative_to(source.ROOT))
        if place in EXEMPT or place.startswith(CORPUS):
            continue
        text = path.read_bytes().decode("utf-8", "ignore")
        wrong += [f"{place}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}"
                  for hit in re.finditer(pattern, text)][:3]
    assert not wrong, f"{what}:\n" + "\n".join(wrong)


def test_no_tracked_file_is_large() -> None:
    large = [str(path.relative_to(source.ROOT)) for path in source.tracked_files()
             if path.stat().st_size > MAXIMUM_FILE_BYTES]
    assert not large


def test_locks_pin_every_file_by_hash() -> None:
    for lock in sorted((source.ROOT / "locks").rglob("*.txt")):
        entries = [entry for entry in re.split(r"\n(?=\S)", lock.read_text()) if not entry.startswith("#")]
        loose = [entry.splitlines()[0] for entry in entries if entry.strip() and "--hash=sha256:" not in entry]
        assert entries and not loose, f"{lock.name}: {loose}"


def test_locks_cover_what_the_package_asks_for() -> None:
    import tomllib

    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text())["project"]
    locked = {re.sub(r"[-_.]+", "-", name).lower()
              for name in re.findall(r"^([A-Za-z0-9._-]+)==", (source.ROOT / "locks" / "demo.txt").read_text(), re.M)}
    asked = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", entry)[0]).lower() for entry in project["dependencies"]}
    assert asked <= locked, f"run ./dev lock: {sorted(asked - locked)}"
