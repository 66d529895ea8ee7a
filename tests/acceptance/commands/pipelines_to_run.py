"""Pipelines that the command's tests run; the tests compile me with the kfp SDK's own Python."""

from kfp import dsl

print("a file may print")


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def check(n: int) -> int:
    print("looking at", n, flush=True)
    if n > 2:
        raise ValueError(f"{n} is too big")
    return n


@dsl.pipeline(name="checks")  # type: ignore[untyped-decorator]
def checks(n: int, tags: list = ["a"]) -> None:  # type: ignore[type-arg]  # noqa: B006
    check(n=n)
    with dsl.ParallelFor([1, 2]) as item:
        check(n=item)


@dsl.pipeline(name="single")  # type: ignore[untyped-decorator]
def single(n: int = 1) -> None:
    check(n=n)


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def write(data: dsl.Output[dsl.Dataset]) -> None:
    with open(data.path, "w") as file:
        file.write("a line\n")


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def double(source: dsl.Input[dsl.Dataset], data: dsl.Output[dsl.Dataset]) -> None:
    with open(source.path) as read, open(data.path, "w") as written:
        written.write(read.read() * 2)


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def count(data: dsl.Input[dsl.Dataset]) -> int:
    with open(data.path) as file:
        return len(file.readlines())


@dsl.pipeline(name="lines")  # type: ignore[untyped-decorator]
def lines() -> None:
    written = write()
    doubled = double(source=written.outputs["data"])
    count(data=doubled.outputs["data"])
