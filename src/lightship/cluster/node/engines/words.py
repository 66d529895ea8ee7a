"""What an engine's refusals come to for a container. Pure; ``engine`` and ``launch`` call me."""

from __future__ import annotations

import re

from lightship.cluster.node.errors import ConfigError, ImageError, StartError

LIMIT_WORDS = 600
_NOISE = re.compile(r"(Trying to pull .*|Getting image source signatures|Copying (blob|config) .*|"
                    r"time=\S+ level=(warning|info|debug) .*|"
                    r"WARN\[.*|Error response from daemon: *$|Unable to find image .*)\Z")
_PREFIX = re.compile(r"(Error: |Error response from daemon: )+")


def told(said: str) -> str:
    """The engine's own reason out of everything that it wrote, on one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error")] or [
        line for line in lines if _NOISE.match(line) is None] or lines
    return _PREFIX.sub("", "; ".join(dict.fromkeys(errors)))[:LIMIT_WORDS]


def could_not_pull(engine: str, image: str, said: str) -> ImageError:
    return ImageError(f'failed to pull image "{image}": {told(said) or "no reason given"}',
                      remedy=f"Try `{engine} pull {image}` as the server's user, or map the image in the catalogue")


def never_pulled(engine: str, image: str) -> StartError:
    return StartError("ErrImageNeverPull", f'Container image "{image}" is not present with pull policy of Never',
                      remedy=f"Make it present: `{engine} pull {image}` or `{engine} build`, as the server's user")


def could_not_create(engine: str, said: str) -> StartError:
    return StartError("CreateContainerError", f"{engine} could not create the container: {told(said)}")


def could_not_start(engine: str, said: str) -> StartError:
    """The container is there and its program does not start: it is missing, or may not be executed."""
    return StartError("RunContainerError", f"failed to start container: {told(said) or engine + ' gave no reason'}")


def no_engine(engine: str, problem: str) -> StartError:
    return StartError("CreateContainerError", f"{engine} cannot run containers on this node: {problem}",
                      remedy="See the node's condition ContainerEngine; or map the image in the image catalogue")


def image_runs_as_root() -> ConfigError:
    return ConfigError("container has runAsNonRoot and image will run as root",
                       remedy="Set runAsUser, or USER in the image")


def image_user_has_no_number(user: str) -> ConfigError:
    return ConfigError(f"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is "
                       "non-root", remedy="Set runAsUser")
