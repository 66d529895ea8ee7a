"""What ``run`` and ``recurring create`` start: a pipeline with its parameters, and the flags that say so.

``add`` is light; ``prepared`` takes in the pipeline format's reader, which only a verb that compiles needs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A specification in the shape that runs are stored with, the pipeline's name, and a run's parameters."""

    spec: Object
    name: str
    parameters: Object


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="FILE.yaml, FILE.py, FILE.py:NAME or MODULE:NAME")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter of the run; may be given several times")
    parser.add_argument("--parameters", type=Path, metavar="FILE", help="a JSON or YAML file of parameters by name")
    parser.add_argument("--python", default="", metavar="PYTHON", help="the Python that compiles (it needs kfp)")


def prepared(arguments: argparse.Namespace) -> Launch:
    """What the arguments say. Raises ``errors.InvalidInput`` that names what is wrong."""
    from lightship.domains.pipelines.commands import arguments as words
    from lightship.domains.pipelines.commands import sources

    source = sources.load(arguments.pipeline, arguments.python)
    base = words.file_of(arguments.parameters) if arguments.parameters else {}
    parameters = words.parameters(arguments.parameter, base, source.parameters)
    return Launch(spec=source.spec, name=source.name, parameters=parameters)
