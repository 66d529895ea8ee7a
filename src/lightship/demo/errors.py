"""This room's branch of the error tree."""

from __future__ import annotations

from lightship import errors


class DemoFailed(errors.LightshipError):
    """A step of the demo did not truly succeed."""

    reason = "DemoFailed"


class SdkMissing(errors.LightshipError):
    """The kfp SDK, with which the pipeline is authored, is not installed here."""

    reason = "SdkMissing"
