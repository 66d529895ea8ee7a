"""The pipelines of the ``pipelines`` benchmark; runs under an environment that holds kfp, which ``pipelines`` names.

``compile FOLDER`` writes them as files; ``local FOLDER PIPELINE`` runs one with kfp.local's subprocess runner and
prints its seconds.
"""

import contextlib
import io
import sys
import time
from pathlib import Path

from kfp import compiler, dsl, local


@dsl.component(base_image="python:3.11")
def link(value: int) -> int:
    return value + 1


@dsl.component(base_image="python:3.11")
def nothing(item: str):
    pass


@dsl.pipeline(name="one")
def one(start: int = 0):
    link(value=start).set_caching_options(False)


@dsl.pipeline(name="chain")
def chain(start: int = 0):
    value = start
    for _ in range(5):
        value = link(value=value).set_caching_options(False).output


@dsl.pipeline(name="cached-chain")
def cached_chain(start: int = 0):
    value = start
    for _ in range(5):
        value = link(value=value).output


@dsl.pipeline(name="fan-out")
def fan_out():
    with dsl.ParallelFor([str(number) for number in range(20)]) as item:
        nothing(item=item).set_caching_options(False)


@dsl.pipeline(name="wide")
def wide(items: list):
    with dsl.ParallelFor(items) as item:
        nothing(item=item).set_caching_options(False)


@dsl.pipeline(name="cached-wide")
def cached_wide(items: list):
    with dsl.ParallelFor(items) as item:
        nothing(item=item)


PIPELINES = {made.name: made for made in (one, chain, cached_chain, fan_out, wide, cached_wide)}


def main(arguments):
    if arguments[0] == "compile":
        for name, pipeline in PIPELINES.items():
            compiler.Compiler().compile(pipeline, str(Path(arguments[1]) / f"{name}.yaml"))
        return
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=arguments[1])
    began = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        PIPELINES[arguments[2]]()
    print(time.monotonic() - began)


if __name__ == "__main__":
    main(sys.argv[1:])
