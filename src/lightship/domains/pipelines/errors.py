"""This room's branch of the error tree.

::

    InvalidInput
    └── InvalidPipeline     a pipeline file that cannot run, with the place in it
    LightshipError
    └── StepError           a step that cannot go on; it ends the step, never the engine
"""

from __future__ import annotations

from lightship import errors


class InvalidPipeline(errors.InvalidInput):
    """A pipeline spec is wrong. ``field`` is the place, such as ``components.comp-a.dag.tasks.b.inputs``."""


class StepError(errors.LightshipError):
    """A step cannot be resolved or run: a missing input, an expression that fails, a value of the wrong type."""

    reason = "StepFailed"
