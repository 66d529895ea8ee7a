"""The reference names each algorithm and setting, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from lightship.domains.tuning.algorithms import checks
from lightship.domains.tuning.algorithms.engines import ALGORITHMS

_REFERENCE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "tuning.md"
_READ_ELSEWHERE = {"sobol": {"random_state"}, "hyperband": {"r_l", "resource_name", "eta", "random_state"},
                   "pbt": {*checks._PBT, "suggestion_trial_dir", "random_state"}, "darts": set[str]()}


def test_every_algorithm_and_setting_is_documented() -> None:
    rows = re.findall(r"^\| `([a-z-]+)`( \(\*extra\*\))? \| ([^|]*) \|", _REFERENCE.read_text(), re.M)
    assert {name for name, _, _ in rows} == ALGORITHMS.keys()
    for name, extra, settings in rows:
        expected = _READ_ELSEWHERE.get(name) if name in _READ_ELSEWHERE else set(checks._SETTINGS[name])
        assert set(re.findall(r"`(\w+)`", settings)) == expected, name
        assert bool(extra) != ALGORITHMS[name].light, name
