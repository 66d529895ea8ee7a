"""What the rows of a run show of its nodes."""

from __future__ import annotations

from lightship.domains.pipelines import projection
from lightship.testing.clock import EPOCH
from tests.unit.pipelines import specs
from tests.unit.pipelines.unfolding import begun


def test_an_iteration_shows_its_item_and_not_again_what_its_loop_was_given() -> None:
    body = specs.sub_dag({"step": specs.task("comp-step", inputs={"x": specs.input_of_parent("item"),
                                                                  "all": specs.input_of_parent("items")})},
                         inputs=specs.parameters(items="LIST", item="STRING"))
    loop = {**specs.task("comp-loop", inputs={"items": specs.input_of_parent("items")}),
            "parameterIterator": {"itemInput": "item", "items": {"inputParameter": "items"}}}
    spec = specs.pipeline(
        {"for-loop-1": loop},
        {"comp-loop": body, "comp-step": specs.component("step", inputs=specs.parameters(x="STRING", all="LIST"))},
        inputs=specs.parameters(items="LIST"))
    unfolded = begun(spec, {"items": ["a", "b"]})

    shown = {path: projection.row(node, None, run_id="run", namespace="default", now=EPOCH).inputs.parameters
             for path, node in unfolded.nodes.items()}

    assert shown["root/for-loop-1"] == {"items": ["a", "b"]}
    assert shown["root/for-loop-1[1]"] == {"item": "b"}
    assert shown["root/for-loop-1[1]/step"] == {"x": "b", "all": ["a", "b"]}
