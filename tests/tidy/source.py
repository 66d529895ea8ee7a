"""Reads the source as syntax trees: modules, what they import and when, their functions. The tests here call me."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file; ``name`` is dotted (``lightship.kube.objects``; a package's is its ``__init__``)."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import statement's one target, absolute. ``function`` is the enclosing function's name when late."""

    importer: str
    target: str
    line: int
    function: str = ""
    type_checking: bool = False
    decorators: tuple[str, ...] = ()


@functools.cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = Module(name=".".join(parts), path=path, tree=ast.parse(path.read_text(), str(path)))
    return found


@functools.cache
def scripts() -> tuple[Path, ...]:
    """Python that is not in the package: the root's script, tests, benchmarks, examples."""
    folders = [path for name in ("tests", "benchmarks", "examples") for path in sorted((ROOT / name).rglob("*.py"))]
    return (ROOT / "dev", *folders)


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(function: Function) -> list[str]:
    spec = function.args
    names = [argument.arg for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


@functools.cache
def imports() -> tuple[Import, ...]:
    return tuple(found for module in modules().values() for found in _Imports(module).found)


class _Imports(ast.NodeVisitor):
    def __init__(self, module: Module) -> None:
        self.module = module
        self.found: list[Import] = []
        self._functions: list[Function] = []
        self._type_checking = False
        self.visit(module.tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._enter(node)

    def _enter(self, node: Function) -> None:
        self._functions.append(node)
        self.generic_visit(node)
        self._functions.pop()

    def visit_If(self, node: ast.If) -> None:
        before = self._type_checking
        self._type_checking = before or "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body:
            self.visit(statement)
        self._type_checking = before
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            package = self.module.name.split(".")
            keep = len(package) - node.level + (self.module.path.name == "__init__.py")
            base = ".".join([*package[:keep], *([base] if base else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            self._add(inner if inner in modules() else base, node.lineno)

    def _add(self, target: str, line: int) -> None:
        outer = self._functions[0] if self._functions else None
        decorators = tuple(ast.unparse(each).split("(")[0] for each in outer.decorator_list) if outer else ()
        self.found.append(Import(
            importer=self.module.name, target=target, line=line, function=outer.name if outer else "",
            type_checking=self._type_checking, decorators=decorators))


def tracked_files() -> list[Path]:
    """Every file that git tracks, or would: a new file is held to the rules before its commit."""
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                             capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
