"""The pipelines of the ``steps`` benchmark; runs under an environment that holds kfp, which ``steps`` names.

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


@dsl.pipeline(name="chain")
def chain(start: int = 0):
    value = start
    for _ in range(5):
        task = link(value=value).set_caching_options(False)
        value = task.output


@dsl.pipeline(name="fan-out")
def fan_out():
    with dsl.ParallelFor(list(range(100))) as number:
        link(value=number).set_caching_options(False)


PIPELINES = {"chain": chain, "fan-out": fan_out}


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
