"""Compiles a pipeline that was written in Python: a program of its own, run by the user's Python, not by ours.

``sources`` runs me by path: ``python compiler.py FILE.py[:NAME] | MODULE:NAME OUTPUT.yaml``. I write what became of it
to ``OUTPUT.yaml.json``, since the user's code may print. I import the standard library and kfp, from Python 3.9 on.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from typing import Any

RUN_NAME = "__lightship__"
LIMIT_NAMED = 10


class Refused(Exception):
    """Why there is nothing to compile, and what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def main() -> None:
    target, output = sys.argv[1], sys.argv[2]
    try:
        found = pipeline_of(target)
        from kfp import compiler

        compiler.Compiler().compile(found, package_path=output)
        answer = {"name": str(found.name)}
    except Refused as refused:
        answer = {"error": str(refused), "remedy": refused.remedy}
    except Exception as error:
        # Frames of the user's own files say where; ours and runpy's would only hide them.
        frames = [frame for frame in traceback.extract_tb(error.__traceback__)
                  if frame.filename != __file__ and "runpy" not in frame.filename]
        lines = traceback.format_list(frames) + traceback.format_exception_only(type(error), error)
        answer = {"error": f"could not compile {target}", "trace": "".join(lines)}
    with open(output + ".json", "w") as file:
        json.dump(answer, file)


def pipeline_of(target: str) -> Any:
    """The pipeline (or component) that ``target`` names."""
    place, colon, name = target.rpartition(":")
    if not colon or os.path.sep in name or name.endswith(".py"):
        place, name = target, ""
    return chosen(names_in(place), place, name)


def names_in(place: str) -> dict[str, Any]:
    """What a file or a module defines, without being the program."""
    if place.endswith(".py"):
        if not os.path.exists(place):
            raise Refused(f"there is no file {place}")
        sys.path.insert(0, os.path.dirname(os.path.abspath(place)))
        sys.argv = [place]
        return runpy.run_path(place, run_name=RUN_NAME)
    sys.path.insert(0, os.getcwd())
    try:
        return vars(importlib.import_module(place))
    except ModuleNotFoundError as error:
        if error.name != place and not place.startswith(f"{error.name}."):
            raise
        raise Refused(f"there is no module {place}", "name a file, or a module that this Python can import") from error


def chosen(names: dict[str, Any], place: str, name: str) -> Any:
    from kfp.dsl import base_component, graph_component

    components = {key: value for key, value in names.items() if isinstance(value, base_component.BaseComponent)}
    pipelines = {key: value for key, value in components.items() if isinstance(value, graph_component.GraphComponent)}
    several = pipelines or components
    if name:
        if name not in names:
            raise Refused(f"{place} has nothing named {name}", known(several))
        if name not in components:
            raise Refused(f"{place}:{name} is no pipeline", "decorate the function with @dsl.pipeline")
        return components[name]
    unlike = {id(value): value for value in several.values()}
    if len(unlike) == 1:
        return next(iter(unlike.values()))
    if not several:
        raise Refused(f"{place} defines no pipeline", "decorate a function with @dsl.pipeline")
    raise Refused(f"{place} defines {len(unlike)} pipelines", known(several))


def known(components: dict[str, Any]) -> str:
    return "name one of them: " + ", ".join(sorted(components)[:LIMIT_NAMED]) if components else ""


if __name__ == "__main__":
    main()
