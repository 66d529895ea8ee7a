"""Versions that must agree between rooms that do not know each other."""

from __future__ import annotations

import re

from lightship.cluster.node import catalogue
from tests.tidy import source


def test_the_demo_trains_with_the_scikit_learn_that_serves() -> None:
    components = (source.ROOT / "src/lightship/demo/components.py").read_text()  # importing it would import kfp
    trains = re.search(r'"(scikit-learn==[\d.]+)"', components)

    assert trains and trains[1] in catalogue.MODEL_SERVER_REQUIREMENTS
