"""How a request that failed is answered over HTTP: the one place that makes an error a status and a body.

``service``, ``predicting`` and the OpenAI endpoints call me.
"""

from __future__ import annotations

import logging

from lightship import errors as trunk
from lightship.modelserver import errors
from lightship.modelserver.http1 import Request
from lightship.modelserver.models import Metrics
from lightship.modelserver.replies import Response, error

logger = logging.getLogger(__name__)


class WrongMethod(trunk.InvalidInput):
    """The path is there, with another method."""

    def __init__(self, path: str, method: str, allowed: str) -> None:
        super().__init__(f'"{path}" wants {allowed}, not {method}')
        self.allowed = allowed


class Failures:
    """Answers and counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def answer(self, request: Request, problem: Exception) -> None:
        """Answer what was raised, with its status and the contract's shape."""
        if request.gone:
            return
        status, message = self.told(request, problem)
        if request.answered:
            return
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if isinstance(problem, WrongMethod):
            headers = ((b"allow", problem.allowed.encode()),)
        shaped = error(status, message)
        request.respond(Response(status, shaped.body, headers=headers))

    def told(self, request: Request, problem: Exception) -> tuple[int, str]:
        """The status and the message; counted, and logged where it is no fault of the request's."""
        status = 405 if isinstance(problem, WrongMethod) else errors.http_status(problem)
        if status == 500:
            logger.error("request failed", exc_info=problem, extra={"path": request.path})
        self._metrics.refused.add((str(status),))
        known = isinstance(problem, trunk.LightshipError)
        return status, str(problem) if known else f"{type(problem).__name__}: {problem}"
