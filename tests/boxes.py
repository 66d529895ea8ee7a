"""An image of one static binary in a store of its own, for tests that run podman."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = "localhost/lightship-box:1"
VARIABLE = "CONTAINERS_STORAGE_CONF"
APPLETS = ("sh", "echo", "cat", "sleep", "env", "id", "hostname", "pwd", "head", "tail", "wget", "ls", "mkdir",
           "dirname", "printf", "tr")


class NoImage(Exception):
    """podman makes no image here; the text says why."""


def missing() -> str:
    """Why this machine cannot: empty where it can."""
    static = os.path.exists("/bin/busybox") and subprocess.run(["ldd", "/bin/busybox"], capture_output=True).returncode
    return "" if shutil.which("podman") and static else "there is no podman or no static busybox here"


@contextmanager
def storage(directory: Path) -> Iterator[Path]:
    """A store with ``IMAGE`` in it; the file to name in ``VARIABLE``. Raises ``NoImage``."""
    configuration = directory / "storage.conf"
    configuration.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/graph"\n'
                             f'runroot = "{directory}/run"\n')
    environment = os.environ | {VARIABLE: str(configuration)}

    def podman(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["podman", *words], capture_output=True, text=True, env=environment)

    root = directory / "root"
    for name in ("bin", "tmp", "etc", "proc"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    archive = shutil.make_archive(str(directory / "root"), "tar", root)
    imported = podman("import", "--change", "ENV FROM_IMAGE=yes", "--change", 'CMD ["echo", "of the image"]', archive,
                      IMAGE)
    if imported.returncode:
        raise NoImage(f"podman makes no image here: {imported.stderr}")
    try:
        yield configuration
    finally:
        podman("rm", "--all", "--force")
        podman("unmount", "--all")
