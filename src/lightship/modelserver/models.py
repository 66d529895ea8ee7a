"""One served model: its state, its batcher, and what it counts.

``service`` asks me to predict; I call the format's model through ``batching``. The state goes loading, then ready or
failed, and never back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightship.lib import prometheus
from lightship.modelserver import errors, formats
from lightship.modelserver.batching import Batcher, Item
from lightship.modelserver.options import Limits


class Metrics:
    """Upstream's histograms, and our own counters beside them."""

    def __init__(self) -> None:
        label = ("model_name",)
        self.preprocess = prometheus.Histogram("request_preprocess_seconds", "pre-process request latency", label)
        self.predict = prometheus.Histogram("request_predict_seconds", "predict request latency", label)
        self.postprocess = prometheus.Histogram("request_postprocess_seconds", "post-process request latency", label)
        self.explain = prometheus.Histogram("request_explain_seconds", "explain request latency", label)
        self.refused = prometheus.Counter("lightship_refused_requests_total", "requests answered with an error",
                                          ("status",))

    def render(self) -> bytes:
        return prometheus.render((self.preprocess, self.predict, self.postprocess, self.explain, self.refused))


@dataclass(slots=True)
class Call:
    """One prepared prediction and whom to tell."""

    prepared: formats.Prepared
    gone: Callable[[], bool]
    done: Callable[[Any, Exception | None], None]


class ServedModel:
    """A model by name. ``versions`` is what V2 lists; one model directory is one version."""

    versions = ("1",)

    def __init__(self, name: str, metrics: Metrics, limits: Limits) -> None:
        self.name = name
        self._labels = (name,)
        self._metrics = metrics
        self._limits = limits
        self._model: formats.Model | None = None
        self._batcher: Batcher | None = None

    @property
    def ready(self) -> bool:
        return self._model is not None

    @property
    def model(self) -> formats.Model:
        """The loaded model. Raises ``ModelNotReady``."""
        if self._model is None:
            raise errors.ModelNotReady(f'model "{self.name}" is not ready: it is still loading',
                                       remedy="Try again when its ready endpoint answers 200")
        return self._model

    async def load(self, format: str, options: formats.LoadOptions) -> None:
        """Load in a thread, so that health answers meanwhile. Raises ``LoadFailed``."""
        model = await asyncio.to_thread(formats.load, format, options)
        self._batcher = Batcher(model.predict, queue_requests=self._limits.queue_requests,
                                batch_rows=self._limits.batch_rows, name=self.name)
        self._model = model

    def predict(self, call: Call) -> None:
        """Predict, then tell ``call.done`` on the loop. Raises ``QueueFull``."""
        assert self._batcher is not None and self._model is not None, "predict comes after load"
        model = self._model

        def done(result: Any, problem: Exception | None, seconds: float) -> None:
            self._metrics.predict.observe(self._labels, seconds)
            call.done(result, None if problem is None else self._blame(model, problem))

        prepared = call.prepared
        self._batcher.submit(Item(prepared.inputs, prepared.rows, prepared.key, done, call.gone))

    def close(self) -> None:
        if self._batcher is not None:
            self._batcher.close()

    def _blame(self, model: formats.Model, problem: Exception) -> Exception:
        text = f"{type(problem).__name__}: {problem}"
        if model.blames_input(problem):
            error: Exception = errors.InvalidTensor(f'model "{self.name}" refused the input: {text}')
        else:
            error = errors.PredictFailed(f'predict of model "{self.name}" raised {text}')
        error.__cause__ = problem
        return error
