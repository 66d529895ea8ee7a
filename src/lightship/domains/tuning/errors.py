"""Tuning's branch of the error tree.

::

    LightshipError
    └── InvalidInput
        ├── BadTemplate       a trial template from which no run can be made     422
        └── BadCondition      a success or failure condition that is no GJSON    422
"""

from __future__ import annotations

from lightship import errors


class BadTemplate(errors.InvalidInput):
    """The trial template, its ConfigMap or its parameters do not make an object."""


class BadCondition(errors.InvalidInput):
    """A condition uses what GJSON does not have, or what we do not read of it."""
