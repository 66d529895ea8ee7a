"""What a user can set, type or call is in docs/reference, and nothing else is."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from unittest.mock import MagicMock

from starlette.routing import Route

from lightship import app, settings
from lightship.composition import domains
from lightship.web import application
from lightship.web.page import routes as page_routes
from tests.tidy import source

REFERENCE = source.ROOT / "docs" / "reference"
FURNITURE = {"types.py", "decide.py", "commands.py"}  # named as what a new domain would have


def test_settings_are_documented() -> None:
    text = (REFERENCE / "settings.md").read_text()
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `--([a-z-]+)[^`]*` \|.*$", text, re.M)}
    fields = {settings.flag(field.name).removeprefix("--"): field for field in dataclasses.fields(settings.Settings)}
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        assert f"`{settings.variable(field.name)}`" in rows[name]
        if field.default is not None:
            assert f"`{field.default}`" in rows[name], f"{name}: the default is {field.default}"


def test_verbs_and_their_options_are_documented() -> None:
    text = (REFERENCE / "cli.md").read_text()
    sections = {part.split("\n", 1)[0].split("`")[1].removeprefix("lightship "): part
                for part in text.split("\n## ")[1:] if part.startswith("`lightship ")}
    verbs = dict(_verbs(app.parser()))
    assert sections.keys() == verbs.keys()
    common = {settings.flag(field.name) for field in dataclasses.fields(settings.Settings)} | {
        "--help", "--kubeconfig", "--context", "--namespace"}
    for name, parser in verbs.items():
        options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
        documented = set(re.findall(r"`(--[a-z-]+)", sections[name]))
        assert options - common <= documented, f"lightship {name} does not document {options - common - documented}"
        assert documented <= options, f"lightship {name} has no {documented - options}"


def test_exit_codes_are_documented() -> None:
    from lightship.cli import exits

    text = (REFERENCE / "cli.md").read_text()
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)} == codes


def test_routes_are_documented() -> None:
    text = (REFERENCE / "routes.md").read_text()
    documented = {path: frozenset(methods.split(", "))
                  for methods, path in re.findall(r"^\| ([A-Z, ]+) \| `([^`]+)` \|", text, re.M)}
    served: dict[str, set[str]] = {}
    for route in _routes():
        if route.path.startswith("/api/model_registry/v1/"):
            assert route.path.replace("/v1/", "/v1alpha3/") in documented  # told once for both prefixes
            continue
        served.setdefault(route.path, set()).update((route.methods or set()) - {"HEAD"})
    assert documented == {path: frozenset(methods) for path, methods in served.items()}


def test_the_documents_link_only_to_what_is_there() -> None:
    broken = []
    for page in [*source.ROOT.glob("*.md"), *(source.ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_the_documents_name_only_files_that_are_there() -> None:
    there = {str(path.relative_to(source.ROOT)) for path in source.tracked_files()}
    named = {name for page in source.tracked_files() if page.suffix == ".md"
             for name in re.findall(r"`([\w/.]+\.py)`", page.read_text())}
    missing = {name for name in named if not any(path == name or path.endswith("/" + name) for path in there)}
    assert not missing - FURNITURE


def _routes() -> list[Route]:
    """All routes as a server composes them; nothing of what the handlers need is called."""
    anything = MagicMock()
    composed = domains.compose(anything, anything, settings.Settings(), domains.Ground(gateway_url="http://gateway"))
    options = application.Options(authenticate=anything, reviewer=anything)
    built = application.build([*composed.routes, *page_routes.routes(anything)], options)
    return [route for route in built.routes if isinstance(route, Route)]


def _verbs(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                nested = list(_verbs(inner, f"{prefix}{name} "))
                yield from nested or [(f"{prefix}{name}", inner)]
