"""Imports point down, meet no cycle, and are late only where the contract gives the reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tidy import contract, source
from tests.tidy.source import Import


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def rank(module: str) -> tuple[int, str] | None:
    for number, rooms in enumerate(contract.LAYERS):
        for room in rooms:
            if within(module, room):
                return number, room
    return None


def own() -> list[Import]:
    return [each for each in source.imports() if within(each.target, "lightship")]


def told(found: list[Import], rule: str) -> str:
    return rule + "\n" + "\n".join(f"  {each.importer}:{each.line} imports {each.target}" for each in found)


def alone(module: str) -> str:
    return next((room for room in contract.ALONE if within(module, room)), "")


def test_every_module_has_a_layer() -> None:
    homeless = [name for name in source.modules() if name != "lightship" and not rank(name) and not alone(name)]
    assert not homeless, f"give these rooms a rank in tests/tidy/contract.py: {homeless}"


def points_down(each: Import) -> bool:
    if each.target == "lightship" or alone(each.target) or (each.importer, each.target) in contract.LAYER_SEAMS:
        return True
    importer, target = rank(each.importer), rank(each.target)
    if importer is None or target is None:
        return False
    return target[0] < importer[0] or target[1] == importer[1]


def test_imports_point_down() -> None:
    wrong = [each for each in own() if not alone(each.importer) and not points_down(each)]
    assert not wrong, told(wrong, "imports point down the layers of tests/tidy/contract.py only:")


def test_domains_do_not_know_each_other() -> None:
    def domain(module: str) -> str:
        parts = module.split(".")
        return parts[2] if len(parts) > 2 and parts[1] == "domains" and parts[2] != "furniture" else ""

    wrong = [each for each in own() if domain(each.importer) and domain(each.target)
             and domain(each.importer) != domain(each.target)]
    assert not wrong, told(wrong, "domains meet in objects, not in imports:")


@pytest.mark.parametrize(("room", "other", "reason"), contract.FORBIDDEN)
def test_forbidden_imports(room: str, other: str, reason: str) -> None:
    wrong = [each for each in own() if within(each.importer, room) and within(each.target, other)]
    assert not wrong, told(wrong, f"{reason}:")


@pytest.mark.parametrize("room", contract.ALONE)
def test_what_stands_alone_imports_the_standard_library_only(room: str) -> None:
    wrong = [each for each in source.imports() if within(each.importer, room) and not within(each.target, room)
             and each.target.split(".")[0] not in sys.stdlib_module_names]
    assert not wrong, told(wrong, f"{room} {contract.ALONE[room]}:")


def test_nothing_of_ours_is_imported_for_types_only() -> None:
    wrong = [each for each in own() if each.type_checking]
    assert not wrong, told(wrong, "a TYPE_CHECKING import of our own hides a cycle:")


def test_late_imports_are_in_the_contract() -> None:
    def allowed(each: Import) -> bool:
        top = each.target.split(".")[0]
        if any(name in contract.COMPONENT_DECORATORS for name in each.decorators):
            return True
        if (each.importer, each.function) in contract.COPIED_FUNCTIONS:
            return True
        if top == "lightship":
            return (each.importer, each.target) in contract.OWN_SEAMS or each.importer == "lightship.app"
        return top in contract.LATE_PACKAGES or top in contract.LATE_STANDARD

    wrong = [each for each in source.imports() if each.function and not allowed(each)]
    assert not wrong, told(wrong, "import at the top, or give the seam and its reason in tests/tidy/contract.py:")


def test_the_contract_lists_no_seam_that_is_gone() -> None:
    late = {(each.importer, each.target) for each in own() if each.function}
    every = {(each.importer, each.target) for each in own()}
    gone = [seam for seam in contract.OWN_SEAMS if seam not in late]
    gone += [seam for seam in contract.LAYER_SEAMS if seam not in every]
    assert not gone


def test_no_cycles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in source.modules()}
    for each in own():
        if each.target in graph and each.target != each.importer and each.importer != "lightship.app":
            graph[each.importer].add(each.target)
    state: dict[str, int] = {}

    def walk(name: str, path: list[str]) -> list[str]:
        state[name] = 1
        for other in sorted(graph[name]):
            if state.get(other) == 1:
                return [*path[path.index(other):], other]
            if other not in state and (found := walk(other, [*path, other])):
                return found
        state[name] = 2
        return []

    for name in graph:
        if name not in state:
            cycle = walk(name, [name])
            assert not cycle, " -> ".join(cycle)


def test_the_start_path_is_short() -> None:
    program = "import sys, lightship.app; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) & set(contract.NOT_AT_START)
    assert not loaded, f"`import lightship.app` loads {sorted(loaded)}: import these where they are used"
