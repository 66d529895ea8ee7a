"""Files, functions and parameter lists stay small, and every module says what it is."""

from __future__ import annotations

import ast

from tests.tidy import contract, source


def test_files_are_short() -> None:
    paths = [module.path for module in source.modules().values()] + list(source.scripts())
    long = {str(path.relative_to(source.ROOT)): count for path in paths
            if (count := len(path.read_text().splitlines())) > contract.MAXIMUM_FILE_LINES}
    assert not long, f"split these by topic (limit {contract.MAXIMUM_FILE_LINES} lines): {long}"


def test_functions_are_short() -> None:
    trees = [(module.place, module.tree) for module in source.modules().values()]
    trees += [(str(path.relative_to(source.ROOT)), ast.parse(path.read_text())) for path in source.scripts()]
    long = [f"{place}:{function.lineno} {function.name}: {count}" for place, tree in trees
            for function in source.functions(tree)
            if (count := (function.end_lineno or 0) - function.lineno + 1) > contract.MAXIMUM_FUNCTION_LINES]
    assert not long, f"limit {contract.MAXIMUM_FUNCTION_LINES} lines:\n" + "\n".join(long)


def test_parameter_lists_are_short() -> None:
    long = [f"{module.place}:{function.lineno} {function.name}({', '.join(names)})"
            for module in source.modules().values() for function in source.functions(module.tree)
            if len(names := source.parameters(function)) > contract.MAXIMUM_PARAMETERS
            and not _is_component(function)]
    assert not long, "beyond five parameters, an options dataclass:\n" + "\n".join(long)


def _is_component(function: source.Function) -> bool:
    """A KFP component's parameters are its interface on the wire, which a dataclass cannot be."""
    names = [ast.unparse(decorator).split("(")[0] for decorator in function.decorator_list]
    return any(name in contract.COMPONENT_DECORATORS for name in names)


def test_every_module_says_what_it_is() -> None:
    silent = [module.place for module in source.modules().values()
              if module.tree.body and not ast.get_docstring(module.tree)]
    assert not silent, f"a module's docstring says what it is, who calls it and whom it calls: {silent}"
