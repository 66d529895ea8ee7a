"""What is shown of a failed step's log: the user's lines, not the executor's."""

from __future__ import annotations

import json

import pytest

from lightship.domains.pipelines import last_words

_HEAD = "[KFP Executor 2026-11-24 13:34:51,015 INFO]: "
_INPUT = json.dumps({
    "inputs": {"parameterValues": {"text": "a\nb", "nested": {"x": {}}}},
    "outputs": {"artifacts": {}, "outputFile": "/minio/mlpipeline/v2/x/executor_output.json"}}, indent=4)
_BEGINNING = (f"{_HEAD}Looking for component `f` in --component_module_path `/tmp/x.py`\n"
              f'{_HEAD}Loading KFP component "f" from /tmp/x.py (directory "/tmp" and module name "x")\n'
              f"{_HEAD}Got executor_input:\n{_INPUT}\n")


def test_what_the_executor_says_is_left_out_and_what_the_component_logs_is_not() -> None:
    text = f"{_BEGINNING}reading\n{_HEAD}my own message\n{{\n    'a': 1\n}}\nno rows: giving up\n\n"
    assert last_words.own(text, 20) == ["reading", f"{_HEAD}my own message", "{", "    'a': 1", "}",
                                        "no rows: giving up"]
    assert last_words.own(text, 1) == ["no rows: giving up"]


def test_a_traceback_begins_with_the_users_own_code() -> None:
    site = "/env/lib/python3.11/site-packages"
    text = f"""{_BEGINNING}Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "{site}/kfp/dsl/executor_main.py", line 109, in <module>
    executor_main()
  File "{site}/kfp/dsl/executor.py", line 453, in execute
    result = self.func(**func_kwargs)
             ^^^^^^^^^^^^^^^^^^^^^^^^
  File "/tmp/tmp.2qw/ephemeral_component.py", line 8, in boom
    raise RuntimeError(msg)
RuntimeError: boom!
"""
    assert last_words.own(text, 20) == [
        "Traceback (most recent call last):", '  File "/tmp/tmp.2qw/ephemeral_component.py", line 8, in boom',
        "    raise RuntimeError(msg)", "RuntimeError: boom!"]


def test_a_step_that_wrote_nothing_has_no_last_words() -> None:
    assert last_words.own(_BEGINNING, 20) == []
    assert last_words.own("", 20) == []


@pytest.mark.parametrize("cut", range(0, len(_BEGINNING.splitlines()) - 2, 3))
def test_a_text_that_begins_within_the_input_shows_none_of_it(cut: int) -> None:
    lines = [*_BEGINNING.splitlines(), "no rows: giving up"]
    assert last_words.own("\n".join(lines[cut:]), 20) == ["no rows: giving up"]
