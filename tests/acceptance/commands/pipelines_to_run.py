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
