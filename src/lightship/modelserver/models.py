"""One served model: its state, its batcher, and what it counts.

The endpoints ask me to predict; I call the format's model through ``batching``. ``repository`` loads and unloads me.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lightship import errors as trunk
from lightship.lib import prometheus
from lightship.modelserver import errors, formats
from lightship.modelserver.batching import Batcher, Bounds, Item
from lightship.modelserver.options import Limits

LOADING, READY, UNAVAILABLE = "LOADING", "READY", "UNAVAILABLE"
"""A model's states, in the words of the repository API."""

_ROWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
Tell = Callable[[Any, Exception | None], None]


class Metrics:
    """Upstream's histograms, and our own counters beside them."""

    def __init__(self) -> None:
        label = ("model_name",)
        self.preprocess = prometheus.Histogram("request_preprocess_seconds", "pre-process request latency", label)
        self.predict = prometheus.Histogram("request_predict_seconds", "predict request latency", label)
        self.postprocess = prometheus.Histogram("request_postprocess_seconds", "post-process request latency", label)
        self.explain = prometheus.Histogram("request_explain_seconds", "explain request latency", label)
        self.batch_rows = prometheus.Histogram("lightship_predict_batch_rows", "rows of each predict", label,
                                               buckets=_ROWS_BUCKETS)
        self.waiting = prometheus.Gauge("lightship_waiting_requests", "requests that wait for a predict", label)
        self.refused = prometheus.Counter("lightship_refused_requests_total", "requests answered with an error",
                                          ("status",))
        self.tokens = prometheus.Counter("lightship_generated_tokens_total", "tokens generated", label)

    def render(self) -> bytes:
        return prometheus.render((self.preprocess, self.predict, self.postprocess, self.explain, self.batch_rows,
                                  self.waiting, self.refused, self.tokens))


class ServedModel:
    """A model by name. ``versions`` is what V2 lists; one model directory is one version."""

    versions = ("1",)

    def __init__(self, name: str, metrics: Metrics, limits: Limits) -> None:
        self.name = name
        self.state = LOADING
        self.reason = ""
        self.labels = (name,)
        self._metrics = metrics
        self._limits = limits
        self._model: Any = None
        self._whole: formats.Whole | None = None
        self._arrays: formats.Model | None = None
        self._batcher: Batcher | None = None

    @property
    def ready(self) -> bool:
        return self.state == READY

    @property
    def waiting(self) -> int:
        """How many requests wait for a predict."""
        return self._batcher.waiting if self._batcher is not None else 0

    @property
    def loaded(self) -> Any:
        """What the format loaded. Raises ``ModelNotReady``."""
        if self.state != READY:
            raise self._not_ready()
        return self._model

    @property
    def whole(self) -> formats.Whole | None:
        """The model, if it takes its requests whole. Raises ``ModelNotReady``."""
        if self.state != READY:
            raise self._not_ready()
        return self._whole

    @property
    def arrays(self) -> formats.Model:
        """The model, which must be one of arrays. Raises ``ModelNotReady`` and ``Unsupported``."""
        if self.state != READY:
            raise self._not_ready()
        if self._arrays is None:
            raise trunk.Unsupported(f'model "{self.name}" does not predict', remedy="Use its OpenAI endpoints")
        return self._arrays

    def having(self, kind: Any, what: str) -> Any:
        """The model, which must have what a protocol says. Raises ``ModelNotReady`` and ``Unsupported``."""
        loaded = self.loaded
        if not isinstance(loaded, kind):
            raise trunk.Unsupported(f'model "{self.name}" {what}')
        return loaded

    async def load(self, format: str, options: formats.LoadOptions) -> None:
        """Load in a thread, so that health answers meanwhile. Raises ``LoadFailed``."""
        try:
            model = await asyncio.to_thread(formats.load, format, options)
        except Exception as problem:
            self.state, self.reason = UNAVAILABLE, str(problem)
            if isinstance(problem, trunk.LightshipError):
                raise
            raise errors.LoadFailed(f'could not load model "{self.name}": {type(problem).__name__}: {problem}',
                                    ) from problem
        limits = self._limits
        rows = min(limits.batch_rows, getattr(model, "max_batch_rows", None) or limits.batch_rows)
        bounds = Bounds(queue_requests=limits.queue_requests, batch_rows=rows,
                        latency_seconds=limits.batch_latency_seconds)
        self._batcher = Batcher(bounds, name=self.name, observe=self._observe_rows)
        # Protocols are slow to check, so it is done once.
        self._whole = model if isinstance(model, formats.Whole) else None
        self._arrays = model if isinstance(model, formats.Model) else None
        self._model, self.state = model, READY

    def predict(self, prepared: formats.Prepared, tell: Tell) -> Item:
        """Predict, then ``tell`` on the loop; the item can be cancelled. Raises ``QueueFull``, ``ModelNotReady``."""
        model = self.arrays
        observe, labels = self._metrics.predict.observe, self.labels

        def done(result: Any, error: Exception | None, seconds: float) -> None:
            observe(labels, seconds)
            tell(result, None if error is None else self._blame(error))

        return self._submit(Item(model.predict, prepared.inputs, prepared.rows, prepared.key, done))

    def explain(self, prepared: formats.Prepared, tell: Tell) -> Item:
        """Explain, as ``predict`` predicts. Raises ``Unsupported`` too."""
        model: formats.Explaining = self.having(formats.Explaining, "has no explainer")

        def done(result: Any, error: Exception | None, seconds: float) -> None:
            self._metrics.explain.observe(self.labels, seconds)
            tell(result, None if error is None else self._blame(error))

        return self._submit(Item(model.explain, prepared.inputs, prepared.rows, None, done))

    async def compute(self, work: Callable[[], Any]) -> Any:
        """Run something on the model's thread, between predicts. Raises what it raised, ``QueueFull``."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(result: Any, error: Exception | None, seconds: float) -> None:
            self._metrics.predict.observe(self.labels, seconds)
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(self._blame(error))

        item = self._submit(Item(lambda nothing: work(), None, 1, None, done))
        try:
            return await future
        finally:
            item.cancel()

    async def unload(self) -> None:
        """Take no more requests, answer those that wait, and let the model go."""
        self.stop()
        if self._batcher is not None:
            await asyncio.to_thread(self._batcher.join, self._limits.drain_seconds)
        model, self._model, self._whole, self._arrays = self._model, None, None, None
        close = getattr(model, "close", None)
        if callable(close):
            await asyncio.to_thread(close)

    def stop(self) -> None:
        """Take no more requests."""
        self.state = UNAVAILABLE
        if self._batcher is not None:
            self._batcher.close()

    def _submit(self, item: Item) -> Item:
        assert self._batcher is not None, "a model that is ready has its batcher"
        self._batcher.submit(item)
        return item

    def _not_ready(self) -> errors.ModelNotReady:
        why = f": {self.reason}" if self.reason else ""
        return errors.ModelNotReady(f'model "{self.name}" is not ready, it is {self.state.lower()}{why}',
                                    remedy="Try again when its ready endpoint answers 200")

    def _observe_rows(self, rows: int) -> None:
        self._metrics.batch_rows.observe(self.labels, rows)

    def _blame(self, problem: Exception) -> Exception:
        if isinstance(problem, trunk.LightshipError):
            return problem
        text = f"{type(problem).__name__}: {problem}"
        blames = getattr(self._model, "blames_input", None)
        if blames is not None and blames(problem):
            error: Exception = errors.InvalidTensor(f'model "{self.name}" refused the input: {text}')
        else:
            error = errors.PredictFailed(f'predict of model "{self.name}" raised {text}')
        error.__cause__ = problem
        return error
