"""Tuning's branch of the error tree.

::

    LightshipError
    └── InvalidInput
        └── BadTemplate       a trial template from which no run can be made     422
"""

from __future__ import annotations

from lightship import errors


class BadTemplate(errors.InvalidInput):
    """The trial template, its ConfigMap or its parameters do not make an object."""
