"""The shapes that the SDK gives to components: packages, a venv, helpers, embedded files, notebooks, containers."""

import os

from kfp import dsl

FOLDER = os.environ["SHAPES_FOLDER"]
"""Where the test put ``note.txt`` and ``note.ipynb``."""


def plus_41(number: int) -> int:
    return number + 41


@dsl.component(base_image="python:3.11", packages_to_install=["six==1.17.0"])  # type: ignore[untyped-decorator]
def with_package() -> str:
    import six  # type: ignore[import-untyped]

    return str(six.__version__)


@dsl.component(  # type: ignore[untyped-decorator]
    base_image="python:3.11", packages_to_install=["six==1.17.0"], use_venv=True)
def with_venv() -> str:
    import six

    return str(six.__version__)


@dsl.component(base_image="python:3.11", additional_funcs=[plus_41])  # type: ignore[untyped-decorator]
def with_helper() -> int:
    return plus_41(1)


@dsl.component(  # type: ignore[untyped-decorator]
    base_image="python:3.11", embedded_artifact_path=f"{FOLDER}/note.txt")
def with_file(note: dsl.EmbeddedInput[dsl.Dataset]) -> str:
    with open(note.path) as file:
        return file.read()


@dsl.notebook_component(  # type: ignore[untyped-decorator]
    notebook_path=f"{FOLDER}/note.ipynb", base_image="python:3.11")
def with_notebook(number: int) -> str:
    dsl.run_notebook(number=number)
    with open("/tmp/number") as file:
        return file.read()


@dsl.container_component  # type: ignore[untyped-decorator]
def with_shell(text: str, out: dsl.OutputPath(str)) -> dsl.ContainerSpec:  # type: ignore[valid-type]
    return dsl.ContainerSpec(
        image="alpine:3.19", args=[text, out],
        command=["sh", "-c", 'mkdir -p "$(dirname "$1")"; printf "%s from $(uname)" "$0" > "$1"'])


@dsl.container_component  # type: ignore[untyped-decorator]
def with_perl(text: str, out: dsl.OutputPath(str)) -> dsl.ContainerSpec:  # type: ignore[valid-type]
    return dsl.ContainerSpec(image="debian:12", args=[text, out], command=[
        "perl", "-MFile::Path=make_path", "-MFile::Basename", "-e",
        'make_path(dirname($ARGV[1])); open(F, ">", $ARGV[1]); print F uc($ARGV[0])'])


@dsl.component(  # type: ignore[untyped-decorator]
    base_image="python:3.11", packages_to_install=["lightship-has-no-such-package==9"])
def with_wrong_package() -> None:
    pass


@dsl.pipeline(name="shapes")  # type: ignore[untyped-decorator]
def shapes() -> None:
    with_package()
    with_venv()
    with_helper()
    with_file()
    with_notebook(number=5)
    with_shell(text="hi")
    with_perl(text="loud")


@dsl.pipeline(name="wrong")  # type: ignore[untyped-decorator]
def wrong() -> None:
    with_wrong_package()
