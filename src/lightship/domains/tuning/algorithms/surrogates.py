"""Models of the losses, for ``gaussian``: a Gaussian process of our own, forests and boosted quantiles of scikit-learn.

Run in the worker. The process has a Matérn kernel (5/2) with a length an axis, a scale and a noise, which are those
under which the losses are likeliest; scikit-learn's would do, at five times the time a suggestion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Matrix = NDArray[np.float64]
Predict = Callable[[Matrix], tuple[Matrix, Matrix]]
"""Rows to expected losses and their standard deviations, both in the standardised scale."""

_ROOT = np.sqrt(5.0)
_LOWEST = {"scale": 0.05, "length": 0.03, "noise": 1e-6}
_HIGHEST = {"scale": 100.0, "length": 20.0, "noise": 0.1}
_BEGIN = {"scale": 1.0, "length": 0.4, "noise": 1e-3}
_ITERATIONS = 30
_JITTER = 1e-10
_IMPOSSIBLE = 1e25
_TREES = 100


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """How alike two rows' losses are: by their distance in ``lengths``, times ``scale``, and the ``noise`` of each."""

    scale: float
    lengths: Matrix
    noise: float

    def between(self, rows: Matrix, others: Matrix) -> Matrix:
        left, right = rows / self.lengths, others / self.lengths
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
        distance = _ROOT * np.sqrt(np.maximum(squares, 0.0))
        return np.asarray(self.scale * (1 + distance + distance**2 / 3) * np.exp(-distance))


class Process:
    """A Gaussian process that has seen ``rows`` and their losses."""

    def __init__(self, kernel: Kernel, rows: Matrix, losses: Matrix) -> None:
        self._kernel = kernel
        self._rows = rows
        covariance = kernel.between(rows, rows) + (kernel.noise + _JITTER) * np.eye(len(rows))
        self._root = cholesky(covariance, lower=True)
        self._weights = cho_solve((self._root, True), losses)

    def predict(self, rows: Matrix) -> tuple[Matrix, Matrix]:
        across = self._kernel.between(rows, self._rows)
        explained = solve_triangular(self._root, across.T, lower=True)
        variance = np.maximum(self._kernel.scale - (explained**2).sum(axis=0), 1e-12)
        return across @ self._weights, np.sqrt(variance)


def likeliest(rows: Matrix, losses: Matrix) -> Kernel:
    """The kernel under which standardised losses are likeliest, of those near where the climb begins."""
    apart = (rows[:, None, :] - rows[None, :, :]) ** 2
    width = rows.shape[1]
    names = ["scale", *["length"] * width, "noise"]
    bounds = [(np.log(_LOWEST[name]), np.log(_HIGHEST[name])) for name in names]
    found = minimize(_unlikeliness, [np.log(_BEGIN[name]) for name in names], args=(apart, losses), jac=True,
                     method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS})
    words = np.exp(found.x)
    return Kernel(scale=float(words[0]), lengths=words[1:-1], noise=float(words[-1]))


def _unlikeliness(words: Matrix, apart: Matrix, losses: Matrix) -> tuple[float, Matrix]:
    """The negative logarithm of the marginal likelihood and its slope, by the logarithms of a kernel's parameters.

    A weak prior keeps lengths near a half, as long as few Trials speak.
    """
    scale, lengths, noise = np.exp(words[0]), np.exp(words[1:-1]), np.exp(words[-1])
    shares = apart / lengths**2
    distance = _ROOT * np.sqrt(shares.sum(axis=2))
    fading = np.exp(-distance)
    alike = scale * (1 + distance + distance**2 / 3) * fading
    count = len(losses)
    try:
        root = cholesky(alike + (noise + _JITTER) * np.eye(count), lower=True)
    except LinAlgError:
        return _IMPOSSIBLE, np.zeros_like(words)
    inverse = cho_solve((root, True), np.eye(count))
    weights = inverse @ losses
    inner = inverse - np.outer(weights, weights)
    by_length = (inner * (scale * 5 / 3 * (1 + distance) * fading))[:, :, None] * shares
    slope = 0.5 * np.concatenate([[(inner * alike).sum()], by_length.sum(axis=(0, 1)), [noise * np.trace(inner)]])
    value = 0.5 * losses @ weights + np.log(np.diag(root)).sum()
    off = (words[1:-1] - np.log(0.5)) / 1.5
    value += 0.5 * (off**2).sum()
    slope[1:-1] += off / 1.5
    return float(value), slope


def trees(estimator: str, rows: Matrix, losses: Matrix, seed: int) -> Predict:
    """A forest (RF, ET), whose trees' disagreement is the deviation, or boosted quantiles (GBRT)."""
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor

    seed %= 2**31
    if estimator == "GBRT":
        quantiles = [GradientBoostingRegressor(loss="quantile", alpha=alpha, n_estimators=30, random_state=seed)
                     .fit(rows, losses) for alpha in (0.16, 0.5, 0.84)]

        def from_quantiles(some: Matrix) -> tuple[Matrix, Matrix]:
            low, middle, high = (one.predict(some) for one in quantiles)
            return middle, np.maximum((high - low) / 2, 1e-9)
        return from_quantiles
    kind = RandomForestRegressor if estimator == "RF" else ExtraTreesRegressor
    forest = kind(n_estimators=_TREES, min_samples_leaf=3, random_state=seed).fit(rows, losses)

    def from_forest(some: Matrix) -> tuple[Matrix, Matrix]:
        each = np.stack([tree.predict(some) for tree in forest.estimators_])
        return each.mean(axis=0), np.maximum(each.std(axis=0), 1e-9)
    return from_forest
