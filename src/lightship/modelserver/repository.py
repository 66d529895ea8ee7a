"""The models of one server by name: which there are, how they are loaded, and how they leave.

``server`` loads the first ones through me; the V2 repository endpoints, REST and gRPC, load and unload others. A
model that is loaded again is replaced only once the new one is ready, and the old one answers what it was asked.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from lightship.modelserver import errors
from lightship.modelserver.formats import LoadOptions
from lightship.modelserver.models import LOADING, UNAVAILABLE, Metrics, ServedModel
from lightship.modelserver.options import Options

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_$][-A-Za-z0-9_.$]{0,252}\Z")


class Repository:
    """The table of models. One directory is one model; with ``multi_model`` each folder in it is."""

    def __init__(self, options: Options, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics
        self._models: dict[str, ServedModel] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        if not options.multi_model:
            self._models[options.model_name] = self._new(options.model_name)

    @property
    def models(self) -> Mapping[str, ServedModel]:
        return self._models

    @property
    def ready(self) -> bool:
        """Whether the one model is; of many, whether none is still loading: a broken one holds up no other."""
        if self._options.multi_model:
            return all(served.state != LOADING for served in self._models.values())
        return all(served.ready for served in self._models.values())

    def get(self, name: str) -> ServedModel:
        """Raises ``ModelMissing``."""
        served = self._models.get(name)
        if served is None:
            there = ", ".join(list(self._models)[:5]) or "none"
            raise errors.ModelMissing(f'there is no model "{name}" here; there is {there}')
        return served

    def version(self, served: ServedModel, version: str) -> str:
        """The version, if the model has it. Raises ``ModelMissing``."""
        if version not in served.versions:
            raise errors.ModelMissing(f'model "{served.name}" has no version "{version}"; '
                                      f"it has {', '.join(served.versions)}")
        return version

    async def start(self) -> None:
        """Load what is there at the start. Raises ``LoadFailed`` where the one model cannot be loaded."""
        if not self._options.multi_model:
            await self._load(self._models[self._options.model_name])
            return
        for name in self._on_disk():
            try:
                await self.load(name)
            except errors.ModelNotReady as problem:
                logger.warning("a model cannot be loaded", extra={"model": name, "reason": str(problem)})

    async def load(self, name: str) -> None:
        """Load a model, or load it again. Raises ``ModelNotReady``, ``ModelMissing``, ``InvalidTensor``."""
        if not _NAME.match(name):
            raise errors.InvalidTensor(f'"{name[:80]}" is no name of a model')
        if not self._directory(name).is_dir():
            raise errors.ModelMissing(f'there is no model "{name}" in {self._options.model_dir}',
                                      remedy="Was it downloaded?")
        if len(self._models) >= self._options.limits.models and name not in self._models:
            raise errors.QueueFull(f"{len(self._models)} models are loaded, which is the limit", remedy="Unload one")
        lock = self._loading.setdefault(name, asyncio.Lock())
        async with lock:
            old, new = self._models.get(name), self._new(name)
            if old is None or not old.ready:
                self._models[name] = new
            try:
                await self._load(new)
            except errors.LoadFailed as problem:
                raise errors.ModelNotReady(problem.message, remedy=problem.remedy) from problem
            self._models[name] = new
            if old is not None:
                await old.unload()

    async def unload(self, name: str) -> None:
        """Let a model go; what waits for it is answered. Raises ``ModelMissing``."""
        served = self.get(name)
        del self._models[name]
        self._loading.pop(name, None)
        await served.unload()

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """What the repository API lists: models that are loaded, and folders that could be."""
        rows = [{"name": served.name, "version": served.versions[0], "state": served.state, "reason": served.reason}
                for served in self._models.values() if served.ready or not ready]
        if self._options.multi_model and not ready:
            rows += [{"name": name, "version": "1", "state": UNAVAILABLE, "reason": "unloaded"}
                     for name in self._on_disk() if name not in self._models]
        return rows

    def close(self) -> None:
        """The process ends: no model takes requests any more."""
        for served in self._models.values():
            served.stop()

    def count(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.waiting.values = {(served.name,): served.waiting for served in self._models.values()}

    async def _load(self, served: ServedModel) -> None:
        served.state = LOADING
        await served.load(self._options.format, LoadOptions(
            name=served.name, directory=self._directory(served.name), predict_proba=self._options.predict_proba,
            flags=self._options.flags))

    def _new(self, name: str) -> ServedModel:
        return ServedModel(name, self._metrics, self._options.limits)

    def _directory(self, name: str) -> Path:
        if self._options.multi_model or name != self._options.model_name:
            return self._options.model_dir / name
        return self._options.model_dir

    def _on_disk(self) -> list[str]:
        folder = self._options.model_dir
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and _NAME.match(path.name))
