"""A first pipeline: a loop over two steps, authored, submitted and awaited with the kfp SDK as it is.

Needs: kfp==2.17.0
Run it: lightship up --detach; lightship status -o json | python examples/first_pipeline.py
"""

import json
import sys

import kfp
from kfp import dsl


@dsl.component(base_image="python:3.11")
def greet(name: str) -> str:
    print(f"greeting {name}")
    return f"Hello, {name}!"


@dsl.component(base_image="python:3.11")
def join(greetings: list) -> str:
    return " ".join(greetings)


@dsl.pipeline(name="first-pipeline")
def first_pipeline(names: list = ["Ada", "Grace"]) -> str:  # noqa: B006  (kfp reads the default)
    with dsl.ParallelFor(names) as name:
        greeting = greet(name=name)
    return join(greetings=dsl.Collected(greeting.output)).output


def main() -> None:
    platform = json.load(sys.stdin)
    with open(platform["tokenFile"]) as file:
        client = kfp.Client(host=platform["url"], existing_token=file.read().strip())
    run = client.create_run_from_pipeline_func(first_pipeline, arguments={"names": ["Ada", "Grace", "Barbara"]})
    ended = client.wait_for_run_completion(run.run_id, timeout=300)
    print(f"{ended.display_name}: {ended.state}")
    if ended.state != "SUCCEEDED":
        sys.exit(1)


if __name__ == "__main__":
    main()
