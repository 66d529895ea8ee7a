"""Environments on disk: content-addressed, built once by uv, never changed afterwards.

``supervisor`` asks me for the environment of a plan; I run uv from our own interpreter. A build happens in a directory
beside its place and is renamed into it, so that a crash leaves nothing half made; the next build sweeps the rest.
"""

from __future__ import annotations

import asyncio
import configparser
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightship.cluster.node import catalogue
from lightship.cluster.node import environment_stamps as stamps
from lightship.cluster.node.catalogue import Environment
from lightship.cluster.node.errors import ImageError
from lightship.cluster.node.inside import linux
from lightship.cluster.node.interpreters import Interpreters

BUILDS_LIMIT = 2
"""Environments that are built at once."""
BUILD_SECONDS = 1800.0
LIMIT_TOTAL_BYTES = 20 * 1024**3
"""Environments that nothing of this life has used go, the longest unused first, once all take more than this."""
TAIL_BYTES = 2000
"""How much of the end of a failed build's output its message repeats."""

_SCHEMA = 1
"""Part of the address: raise it when what a build does changes."""
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_log = logging.getLogger(__name__)


class BuildError(ImageError):
    """uv could not build the environment. ``output`` is the end of what it said."""

    def __init__(self, message: str, output: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.output = output


@dataclass(frozen=True, kw_only=True)
class Built:
    """An environment that is there."""

    python: str
    directories: tuple[str, ...]
    """What the sandbox must show, at the same paths."""
    path: str
    """The container's PATH."""
    digest: str
    stands_in_for: str = ""
    """The Python version that was wanted, where this is another: it is not on this machine."""

    @property
    def id(self) -> str:
        """What the container's status names as its image's id."""
        what = f"lightship://{self.digest or self.python}"
        return f"{what} (stands in for Python {self.stands_in_for})" if self.stands_in_for else what


def digest_of(environment: Environment, interpreter: str) -> str:
    """The address: everything that decides what a build yields."""
    content = {"schema": _SCHEMA, "interpreter": interpreter,
               "installs": [[list(i.packages), i.no_deps, list(i.options)] for i in environment.installs]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def identity_of(image: str, lines: Mapping[str, Any] | None, *, engine: bool) -> str:
    """What ``image`` means by the catalogue ``lines``: of an environment its address, else the image's own name."""
    try:
        found = catalogue.resolve(image, lines, engine=engine)
    except ImageError:
        return image
    if found.entrypoint or found.by_engine:
        return image
    return digest_of(found.environment, found.environment.python or sys.version.split()[0])


class Environments:
    """All environments of a node, under ``directory``."""

    def __init__(self, directory: Path, base_python: str = "") -> None:
        self._directory = directory
        self._base_python = base_python or getattr(sys, "_base_executable", sys.executable)
        self._interpreters = Interpreters(self._base_python)
        self._builds: dict[str, asyncio.Task[Built]] = {}
        self._slots = asyncio.Semaphore(BUILDS_LIMIT)
        self._pip_settings: dict[str, str] | None = None

    @property
    def host(self) -> Built:
        """The server's own base interpreter, without anything installed."""
        return self._plain(self._base_python)

    def _plain(self, python: str) -> Built:
        prefix = str(Path(os.path.realpath(python)).parent.parent)
        return Built(python=python, directories=(prefix,), path=f"{prefix}/bin:{_SYSTEM_PATH}", digest="")

    async def get(self, environment: Environment) -> Built:
        """The environment, built if need be; concurrent callers wait for one build. Raises ``BuildError``."""
        interpreter = await self._interpreters.get(environment.python)
        if not environment.installs:
            return replace(self._plain(interpreter.path), stands_in_for=interpreter.stands_in_for)
        digest = digest_of(environment, interpreter.path)
        task = self._builds.get(digest)
        if task is None:
            task = asyncio.create_task(self._get(environment, digest, interpreter.path), name=f"environment {digest}")
            self._builds[digest] = task
            task.add_done_callback(lambda done: self._forget_failure(digest, done))
        return replace(await asyncio.shield(task), stands_in_for=interpreter.stands_in_for)

    async def close(self) -> None:
        """Stops the builds that run; their leavings are swept by the next start."""
        running = [task for task in self._builds.values() if not task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def sweep(self) -> None:
        """Removes what an interrupted build left."""
        for leftover in self._directory.glob("*.building-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _forget_failure(self, digest: str, task: asyncio.Task[Built]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._builds.pop(digest, None)

    async def _get(self, environment: Environment, digest: str, python: str) -> Built:
        place = self._directory / digest
        if place.is_dir() and not await asyncio.to_thread(stamps.is_whole, place):
            _log.warning("an environment is damaged and is built anew", extra={"digest": digest})
            await self._remove(digest)
        if not place.is_dir():
            async with self._slots:
                await self._build(environment, place, python)
            await self.collect()
        os.utime(place)  # it is used
        return _describe(place, digest)

    async def _build(self, environment: Environment, place: Path, python: str) -> None:
        work = place.with_name(f"{place.name}.building-{os.getpid()}")
        self._directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        log = self._directory / f"{place.name}.log"
        settings = self._settings()
        wanted = [package for install in environment.installs for package in install.packages]
        _log.info("building an environment", extra={"digest": place.name, "packages": wanted})
        with log.open("wb") as output:
            await self._uv(["venv", "--relocatable", "--python", python, str(work)], settings, output)
            for install in environment.installs:
                flags = ["--no-deps"] if install.no_deps else []
                options = _uv_options(install.options, os.environ)
                await self._uv(["pip", "install", "--python", str(work / "bin" / "python"), "--link-mode", "hardlink",
                                "--compile-bytecode", *flags, *options, *install.packages], settings, output)
        await asyncio.to_thread(stamps.write, work)
        os.rename(work, place)

    async def collect(self, limit_bytes: int = LIMIT_TOTAL_BYTES) -> None:
        """Removes what has long not been used, where all environments together take too much."""
        found = await asyncio.to_thread(self._survey)
        for digest in stamps.to_collect(found, self._builds, limit_bytes):
            if digest not in self._builds:  # somebody may have asked for it meanwhile
                _log.info("an environment is collected", extra={"digest": digest})
                await self._remove(digest)

    def _survey(self) -> dict[str, tuple[float, int]]:
        found = {}
        for place in self._directory.iterdir() if self._directory.is_dir() else ():
            stamp = stamps.read(place)
            if stamp is not None:
                found[place.name] = (place.stat().st_mtime, stamp.size_bytes)
        return found

    async def _remove(self, digest: str) -> None:
        """Out of its place at once, and then, at leisure, off the disk."""
        gone = self._directory / f"{digest}.building-gone-{os.getpid()}"
        os.rename(self._directory / digest, gone)
        await asyncio.to_thread(shutil.rmtree, gone, True)

    async def _uv(self, arguments: list[str], settings: Mapping[str, str], output: object) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uv", *arguments, env={**os.environ, **settings}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, preexec_fn=linux.die_with_parent)
        try:
            async with asyncio.timeout(BUILD_SECONDS):
                said, _ = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        output.write(said)  # type: ignore[attr-defined]
        if process.returncode:
            tail = said[-TAIL_BYTES:].decode(errors="replace").strip()
            raise BuildError(
                f"uv could not make the environment ({' '.join(arguments[:2])} exited with {process.returncode}): "
                f"{tail}", tail,
                remedy="Check the requirement's name and version; without network, point uv at an index or a folder "
                       "of wheels (UV_DEFAULT_INDEX, UV_FIND_LINKS), or run once with network to fill its cache")

    def _settings(self) -> dict[str, str]:
        """pip's own index settings for uv, where the user has not set uv's."""
        if self._pip_settings is None:
            self._pip_settings = pip_settings(os.environ, _pip_files(os.environ))
        return self._pip_settings


def _describe(place: Path, digest: str) -> Built:
    python = place / "bin" / "python3"
    base = Path(os.path.realpath(python)).parent.parent
    return Built(python=str(python), directories=(str(base), str(place)), digest=digest,
                 path=f"{place}/bin:{base}/bin:{_SYSTEM_PATH}")


_STRATEGY, _AS_PIP = "UV_INDEX_STRATEGY", "unsafe-best-match"
"""A command that says pip means pip: it takes the best version from all its indexes, where uv stops at the first."""


def _uv_options(options: tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    names = {"--trusted-host": "--allow-insecure-host"}
    several = "--extra-index-url" in options and _STRATEGY not in environ
    return [*(["--index-strategy", _AS_PIP] if several else []), *(names.get(option, option) for option in options)]


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files, the least specific first."""
    shared = environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    files = [Path(directory) / "pip" / "pip.conf" for directory in shared]
    files.append(Path("/etc/pip.conf"))
    if home := environ.get("HOME"):
        files += [Path(home) / ".pip" / "pip.conf", Path(home) / ".config" / "pip" / "pip.conf"]
    if named := environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    return files


def pip_settings(environ: Mapping[str, str], files: list[Path]) -> dict[str, str]:
    """uv's environment variables for the indexes that pip is configured with; what is set for uv already wins.

    uv reads its own settings by itself but none of pip's, and a machine behind a mirror often has only these.
    """
    values: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            _log.warning("pip's settings could not be read", extra={"file": str(file), "cause": str(error)})
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                values.update(parser.items(section))
    for name in ("index-url", "extra-index-url", "find-links", "constraint"):
        if value := environ.get("PIP_" + name.upper().replace("-", "_")):
            values[name] = value
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS",
             "constraint": "UV_CONSTRAINT"}
    separators = {"find-links": ","}
    uv_says = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"} & environ.keys()
    found = {
        uv: separators.get(pip, " ").join(values[pip].split())
        for pip, uv in names.items()
        if values.get(pip) and uv not in environ and not (uv_says and "INDEX" in uv)
    }
    if "UV_INDEX" in found and _STRATEGY not in environ:
        found[_STRATEGY] = _AS_PIP
    return found
