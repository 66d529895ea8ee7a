"""The settings, read once by ``app``: a field, its flag and its environment variable carry one name.

``kube_port`` is ``--kube-port`` is ``LIGHTSHIP_KUBE_PORT``; a flag wins over the environment, which wins over the
default. I import nothing but the trunk of the error tree.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship import errors


def _setting(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set when a server starts. Ports are TCP ports; 0 takes any free one."""

    data_dir: Path = _setting(None, "where all state lies; default: a folder of the user's own")
    port: int = _setting(8780, "port of the REST APIs and the page; 0 takes any free one")
    kube_port: int = _setting(8781, "port of the Kubernetes API (TLS); 0 takes any free one")
    gateway_port: int = _setting(8782, "port of the gateway to served models; 0 takes any free one")
    bind: str = _setting("127.0.0.1", "address to listen on; only loopback addresses are accepted so far")
    log_level: str = _setting("warning", "debug, info, warning or error")
    max_pods: int = _setting(110, "Pods that the node runs at once; more wait, and say so")
    steps_at_once: int = _setting(256, "pipeline steps at once, of all runs together; more wait, fairly")
    steps_at_once_per_namespace: int = _setting(128, "pipeline steps at once, of all runs of one namespace")
    steps_at_once_per_run: int = _setting(64, "pipeline steps at once, of one run")
    exit_task_seconds: int = _setting(3600, "how long a task that cleans up may run once its pipeline run was "
                                      "terminated or is past its deadline")
    records: str = _setting("file", "where history is kept: file, in the data directory, or "
                            "postgresql://USER@HOST/DATABASE")
    artifacts: str = _setting("file", "where minio:// artifacts lie: file, in the data directory, a folder of that "
                              "path, or an S3 endpoint such as https://minio:9000 with its keys in AWS_ACCESS_KEY_ID "
                              "and AWS_SECRET_ACCESS_KEY")
    launcher_image: str = _setting("builtin", "image with python3 and this package that moves steps' files in their "
                                   "Pods, for clusters that are not ours; builtin is our own node's")
    artifacts_secret: str = _setting("mlpipeline-minio-artifact", "Secret in each namespace with the endpoint's "
                                     "accesskey and secretkey, for the launcher's image")
    artifacts_claim: str = _setting("none", "volume claim in each namespace that holds the artifacts' folder, for the "
                                    "launcher's image")
    cloud_namespaces: str = _setting("default", "namespaces, with commas between, whose runs act with this server's "
                                     "own identity at s3:// and gs://; * for all")
    serving_domain: str = _setting("example.com", "what the host names of served models end with")
    serving_entry: str = _setting("gateway", "how requests come to served models on a cluster that is not ours: "
                                  "gateway, httproute:NAMESPACE/GATEWAY, ingress or ingress:CLASS")
    model_folders: str = _setting("none", "host folders, with : between, whose models file:// may name, in the "
                                  "namespaces of --cloud-namespaces")
    model_cache_gib: int = _setting(20, "GiB of downloaded models that are kept though no Pod uses them")
    model_cache_days: int = _setting(7, "days that a downloaded model is kept though no Pod uses it")
    containers: str = _setting("none", "what runs images that the catalogue does not map: podman, docker or none")
    crash_back_off_seconds: int = _setting(1, "how long a container that crashed twice waits; doubles up to 30 times "
                                           "that; Kubernetes has 10")
    stop_timeout_seconds: int = _setting(20, "how long a stop waits for Pods and requests to end")

    @property
    def url_host(self) -> str:
        """``bind`` as it stands in a URL."""
        return f"[{self.bind}]" if ":" in self.bind else self.bind

    @property
    def artifacts_endpoint(self) -> str:
        """The S3 endpoint of ``artifacts``, or an empty string where it is a folder."""
        return self.artifacts if "://" in self.artifacts else ""

    @property
    def artifacts_dir(self) -> Path:
        """The folder that holds artifacts, where no endpoint does."""
        own = self.artifacts == "file"
        return self.data_dir / "artifacts" if own else Path(self.artifacts).expanduser().absolute()

    @property
    def trusted_namespaces(self) -> tuple[str, ...]:
        """``cloud_namespaces`` one by one."""
        return tuple(name.strip() for name in self.cloud_namespaces.split(",") if name.strip())

    @property
    def model_folder_paths(self) -> tuple[Path, ...]:
        """``model_folders`` one by one."""
        named = () if self.model_folders == "none" else self.model_folders.split(":")
        return tuple(Path(name).expanduser().absolute() for name in named if name)

    @property
    def records_url(self) -> str:
        """The database of history."""
        return f"sqlite:///{self.data_dir / 'records.db'}" if self.records == "file" else self.records

    @property
    def token_file(self) -> Path:
        return self.data_dir / "token"

    @property
    def kubeconfig_file(self) -> Path:
        return self.data_dir / "kubeconfig"

    @property
    def server_file(self) -> Path:
        """Where a running server says what it is: pid, addresses, version."""
        return self.data_dir / "server.json"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"


def command(settings: Settings, verb: str, environ: Mapping[str, str] = os.environ) -> str:
    """``lightship VERB`` as a person must type it to mean this data directory: what remedies say."""
    here = environ.get(variable("data_dir"))
    usual = Path(here).expanduser().absolute() if here else default_data_dir(environ)
    return f"lightship {verb}" if settings.data_dir == usual else (
        f"lightship {verb} --data-dir {shlex.quote(str(settings.data_dir))}")


LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONTAINERS = ("none", "podman", "docker")
LOG_LEVELS = ("debug", "info", "warning", "error")


def flag(field_name: str) -> str:
    return "--" + field_name.replace("_", "-")


def variable(field_name: str) -> str:
    return "LIGHTSHIP_" + field_name.upper()


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """The folder that belongs to the user on this platform, after XDG where it applies."""
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "lightship"
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else home / ".local" / "share") / "lightship"


def read(flags: Mapping[str, str | None], environ: Mapping[str, str] = os.environ) -> Settings:
    """Merge flags over the environment over defaults. Raises ``errors.InvalidInput`` naming the setting."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        text, source = flags.get(field.name), flag(field.name)
        if text is None:
            text, source = environ.get(variable(field.name)) or None, variable(field.name)
        if text is None:
            continue
        values[field.name] = _parse(field, text, source)
    if values.get("data_dir") is None:
        values["data_dir"] = default_data_dir(environ)
    settings = Settings(**values)
    _check(settings)
    return settings


def _parse(field: dataclasses.Field[Any], text: str, source: str) -> Any:
    if field.name == "data_dir":
        return Path(text).expanduser().absolute()
    if isinstance(field.default, int):
        try:
            return int(text)
        except ValueError:
            raise errors.InvalidInput(f"{source} must be a whole number, not {text!r}", field=field.name) from None
    return text


def _check(settings: Settings) -> None:
    for name in ("port", "kube_port", "gateway_port"):
        value = getattr(settings, name)
        if not 0 <= value <= 65535:
            raise errors.InvalidInput(f"{flag(name)} must lie between 0 and 65535, not {value}", field=name)
    if settings.bind not in LOOPBACK:
        raise errors.InvalidInput(
            f"{flag('bind')} {settings.bind}: only loopback addresses ({', '.join(LOOPBACK)}) are accepted",
            remedy="to create a Pod is to run code, so a wider bind waits for user accounts; use ssh -L meanwhile",
            field="bind",
        )
    if settings.records != "file" and not settings.records.startswith("postgresql://"):
        raise errors.InvalidInput(f'{flag("records")} must be "file" or begin with postgresql://', field="records")
    if settings.artifacts_endpoint and not settings.artifacts.startswith(("http://", "https://")):
        raise errors.InvalidInput(f"{flag('artifacts')} must be a folder or the http(s)://HOST:PORT of an S3 endpoint",
                                  field="artifacts")
    if settings.launcher_image != "builtin" and not settings.artifacts_endpoint and settings.artifacts_claim == "none":
        raise errors.InvalidInput(
            f"{flag('launcher_image')} needs a place that Pods reach: an S3 endpoint in {flag('artifacts')}, or a "
            f"claim in {flag('artifacts_claim')}", field="launcher_image")
    if settings.log_level not in LOG_LEVELS:
        raise errors.InvalidInput(f"{flag('log_level')} must be one of {', '.join(LOG_LEVELS)}", field="log_level")
    if settings.containers not in CONTAINERS:
        raise errors.InvalidInput(f"{flag('containers')} must be one of {', '.join(CONTAINERS)}", field="containers")
    for name in ("max_pods", "steps_at_once", "steps_at_once_per_namespace", "steps_at_once_per_run",
                 "exit_task_seconds", "model_cache_gib", "model_cache_days", "crash_back_off_seconds",
                 "stop_timeout_seconds"):
        if getattr(settings, name) < 1:
            raise errors.InvalidInput(f"{flag(name)} must be 1 or more", field=name)
