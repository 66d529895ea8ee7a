"""A git repository as a ``Source``: the files of one commit, without the history.

The storage initializer makes me. ``git`` runs beside the node without any configuration, hooks or helpers of this
machine's, over HTTPS and HTTP alone, follows no redirect, and makes no links.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lightship import errors
from lightship.artifacts.sources import Found, Limits

LIMIT_LOOK_SECONDS = 60.0
LIMIT_CLONE_SECONDS = 3600.0
LIMIT_OUTPUT_BYTES = 1 << 20
_PLACE = re.compile(r"(?P<url>https?://.+?\.git)(?:@(?P<revision>[A-Za-z0-9][\w./-]{0,250}))?/?\Z")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who asks a private repository."""

    user: str = ""
    password: str = ""


def is_repository(uri: str) -> bool:
    """Whether the URI is of a repository: ``https://HOST/PATH.git``, perhaps with ``@BRANCH``; or ``git://``."""
    return uri.startswith("git://") or _PLACE.match(uri) is not None


class Repository:
    """A ``Source`` of a repository at a branch or tag, or at what it calls its head."""

    def __init__(self, uri: str, login: Login, limits: Limits) -> None:
        # git:// has neither secrets nor integrity; the hosts that had it speak HTTPS.
        place = _PLACE.match(uri.replace("git://", "https://", 1) if uri.startswith("git://") else uri)
        if place is None:
            raise errors.InvalidInput(f"{uri} names no repository", remedy="Write https://HOST/PATH.git, "
                                      "with @BRANCH at its end for another than the head")
        parts = urlsplit(place["url"])
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._revision = place["revision"] or ""
        self._login = Login(user=login.user or parts.username or "", password=login.password)
        self._limits = limits
        self._commit = ""

    @property
    def uri(self) -> str:
        return f"{self._url}@{self._revision}" if self._revision else self._url

    @property
    def host(self) -> tuple[str, int]:
        """Whom it asks."""
        parts = urlsplit(self._url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    async def look(self) -> Found:
        wanted = self._revision or "HEAD"
        told = await self._git("ls-remote", self._url, wanted, seconds=LIMIT_LOOK_SECONDS)
        names = {name: commit for commit, _, name in (line.partition("\t") for line in told.splitlines())}
        likely = (f"refs/tags/{wanted}^{{}}", f"refs/heads/{wanted}", f"refs/tags/{wanted}", wanted)
        commit = next((names[name] for name in likely if name in names), "")
        if not _COMMIT.fullmatch(commit):
            raise errors.NotFound(f"{self._url} has no {wanted}", remedy="Name a branch or a tag after the @")
        self._commit = commit
        return Found(version=commit)

    async def fill(self, folder: Path) -> None:
        await asyncio.to_thread(_empty, folder)
        branch = ("--branch", self._revision) if self._revision else ()
        await self._git("clone", "--quiet", "--depth", "1", "--single-branch", "--no-tags", *branch, self._url,
                        str(folder), seconds=LIMIT_CLONE_SECONDS)
        commit = (await self._git("-C", str(folder), "rev-parse", "HEAD", seconds=LIMIT_LOOK_SECONDS)).strip()
        if commit != self._commit:
            raise errors.Unavailable(f"{self.uri} was changed while it was fetched",
                                     remedy="It is tried again when the Pod is")
        await asyncio.to_thread(self._settle, folder)

    def _settle(self, folder: Path) -> None:
        """The files stay, the repository goes; no more of them than may be."""
        shutil.rmtree(folder / ".git")
        count, size = 0, 0
        for directory, _, names in os.walk(folder):
            for name in names:
                count, size = count + 1, size + Path(directory, name).lstat().st_size
        if count > self._limits.files or size > self._limits.size_bytes:
            raise errors.TooLarge(f"{self.uri} holds {count} files of {size} bytes; at most {self._limits.files} files "
                                  f"of {self._limits.size_bytes} bytes are fetched")

    async def _git(self, *arguments: str, seconds: float) -> str:
        program = shutil.which("git")
        if program is None:
            raise errors.Unsupported(f"{self.uri}: there is no git on this machine",
                                     remedy="Install git, or put the model into the artifact store")
        blocks = self._limits.size_bytes // 512
        running = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", f'ulimit -f {blocks}; exec "$0" "$@"', program, *arguments,
            env=self._environment(os.environ), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(seconds):
                out, problem = await running.communicate()
        except TimeoutError as cause:
            raise errors.Unavailable(f"{self.uri}: git took longer than {seconds:.0f} s") from cause
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
        if running.returncode != 0:
            raise self._refused(problem[-LIMIT_OUTPUT_BYTES:].decode(errors="replace"))
        return out[:LIMIT_OUTPUT_BYTES].decode(errors="replace")

    def _environment(self, own: Mapping[str, str]) -> dict[str, str]:
        parts = urlsplit(self._url)
        settings = [("core.symlinks", "false"), ("core.hooksPath", "/dev/null"), ("http.followRedirects", "false"),
                    ("submodule.recurse", "false"), ("core.fsmonitor", "false"), ("credential.helper", "")]
        if self._login.password:
            pair = base64.b64encode(f"{self._login.user or 'git'}:{self._login.password}".encode()).decode()
            settings.append((f"http.{parts.scheme}://{parts.netloc}/.extraHeader", f"Authorization: Basic {pair}"))
        made = {name: own[name] for name in ("PATH", "SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy",
                                             "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") if name in own}
        made |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
                 "LC_ALL": "C", "GIT_ALLOW_PROTOCOL": "https:http", "HOME": "/nonexistent",
                 "GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings):
            made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return made

    def _refused(self, problem: str) -> errors.LightshipError:
        said = (problem.strip().splitlines() or ["git ended"])[-1]
        if "No space left" in problem:
            return errors.Unavailable(f"the disk was full before all of {self.uri} was there",
                                      remedy="Make room on the disk of the data directory; the Pod tries again")
        if "could not read Username" in problem or "Authentication failed" in problem:
            return errors.Forbidden(f"{self.uri} is not shown without its keys: {said}",
                                    remedy="Give GIT_USERNAME and GIT_PASSWORD in a Secret of the ServiceAccount")
        if "not found" in problem:
            return errors.NotFound(f"{self.uri} is not there: {said}", remedy="Check the URL")
        return errors.Unavailable(f"{self.uri} cannot be fetched: {said}",
                                  remedy="Check that this machine reaches the host")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
