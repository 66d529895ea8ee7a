"""What a user's script does with an unmodified kfp SDK. Run under the SDK's own Python: URL, token, directory."""

import json
import sys
from pathlib import Path

import kfp
from kfp import compiler, dsl

url, token, directory = sys.argv[1:]


@dsl.component(base_image="python:3.11")
def add(a: float, b: float) -> float:
    return a + b


@dsl.pipeline(name="sums", description="Adds numbers")
def sums(a: float = 1.0, b: float = 2.0):
    first = add(a=a, b=b)
    add(a=first.output, b=3.0)


package = str(Path(directory, "sums.yaml"))
compiler.Compiler().compile(sums, package)
client = kfp.Client(host=url, existing_token=token)

uploaded = client.upload_pipeline(package, pipeline_name="sums", description="from a script")
assert client.get_pipeline_id("sums") == uploaded.pipeline_id
assert client.get_pipeline(uploaded.pipeline_id).display_name == "sums"
version = client.upload_pipeline_version(package, pipeline_version_name="two", pipeline_id=uploaded.pipeline_id)
versions = client.list_pipeline_versions(uploaded.pipeline_id, sort_by="created_at desc")
assert [each.display_name for each in versions.pipeline_versions] == ["two", "sums"], versions
got = client.get_pipeline_version(uploaded.pipeline_id, version.pipeline_version_id)
assert got.pipeline_spec["pipelineInfo"]["name"] == "sums", got
assert [each.display_name for each in client.list_pipelines().pipelines] == ["sums"]

experiment = client.create_experiment("numbers", description="d")
assert client.create_experiment("numbers").experiment_id == experiment.experiment_id
assert client.get_experiment(experiment_name="numbers").experiment_id == experiment.experiment_id
assert len(client.list_experiments().experiments) == 1

result = client.create_run_from_pipeline_package(
    package, arguments={"a": 5}, run_name="first", experiment_name="numbers", enable_caching=False)
run = result.wait_for_run_completion(timeout=60)
assert run.state == "SUCCEEDED", run
assert {task.display_name for task in run.run_details.task_details} == {"root", "ingest", "train"}
second = client.run_pipeline(experiment.experiment_id, "second", pipeline_id=uploaded.pipeline_id,
                             version_id=version.pipeline_version_id, params={"b": 7.5})
assert client.wait_for_run_completion(second.run_id, timeout=60, sleep_duration=1).state == "SUCCEEDED"
from_function = client.create_run_from_pipeline_func(sums, arguments={}, experiment_name="numbers", run_name="third")
client.wait_for_run_completion(from_function.run_id, timeout=60, sleep_duration=1)

listed = client.list_runs(page_size=2, sort_by="created_at desc", experiment_id=experiment.experiment_id)
assert [each.display_name for each in listed.runs] == ["third", "second"], listed
rest = client.list_runs(page_token=listed.next_page_token, page_size=2, sort_by="created_at desc",
                        experiment_id=experiment.experiment_id)
assert [each.display_name for each in rest.runs] == ["first"], rest
only = json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": "second"}]})
assert [each.run_id for each in client.list_runs(filter=only).runs] == [second.run_id]

client.archive_run(second.run_id)
assert client.get_run(second.run_id).storage_state == "ARCHIVED"
client.unarchive_run(second.run_id)
assert client.get_run(second.run_id).storage_state == "AVAILABLE"
client.delete_run(second.run_id)
try:
    client.get_run(second.run_id)
    raise AssertionError("a deleted run was found")
except Exception as error:
    assert getattr(error, "status", None) == 404, error
try:
    client.terminate_run(result.run_id)
    raise AssertionError("an ended run was terminated")
except Exception as error:
    assert getattr(error, "status", None) == 400, error
nightly = client.create_recurring_run(
    experiment.experiment_id, "nightly", cron_expression="0 0 3 * * *", pipeline_package_path=package,
    params={"a": 2.0}, max_concurrency=2, no_catchup=True, description="d")
hourly = client.create_recurring_run(
    experiment.experiment_id, "hourly", interval_second=3600, start_time="2026-01-01T00:00:00Z",
    end_time="2099-01-01T00:00:00Z", pipeline_id=uploaded.pipeline_id, version_id=version.pipeline_version_id,
    enabled=False)
got = client.get_recurring_run(nightly.recurring_run_id)
assert got.trigger.cron_schedule.cron == "0 0 3 * * *", got
assert (got.max_concurrency, got.no_catchup, got.status, got.mode) == ("2", True, "ENABLED", "ENABLE"), got
assert got.runtime_config.parameters == {"a": 2.0}, got
assert client.get_recurring_run(hourly.recurring_run_id).trigger.periodic_schedule.interval_second == "3600"
listed = client.list_recurring_runs(experiment_id=experiment.experiment_id, sort_by="created_at desc", page_size=1)
assert [each.display_name for each in listed.recurring_runs] == ["hourly"] and listed.total_size == 2, listed
client.disable_recurring_run(nightly.recurring_run_id)
assert client.get_recurring_run(nightly.recurring_run_id).status == "DISABLED"
client.enable_recurring_run(hourly.recurring_run_id)
assert client.get_recurring_run(hourly.recurring_run_id).status == "ENABLED"
client.delete_recurring_run(hourly.recurring_run_id)
try:
    client.create_recurring_run(experiment.experiment_id, "wrong", cron_expression="0 0 3 * *x *",
                                pipeline_package_path=package)
    raise AssertionError("a wrong schedule was taken")
except Exception as error:
    assert getattr(error, "status", None) == 400, error
client.enable_recurring_run(nightly.recurring_run_id)
client.archive_experiment(experiment.experiment_id)
assert client.get_recurring_run(nightly.recurring_run_id).status == "DISABLED"
assert client.get_run(result.run_id).storage_state == "ARCHIVED"
client.unarchive_experiment(experiment.experiment_id)
client.delete_pipeline_version(uploaded.pipeline_id, version.pipeline_version_id)
client.delete_pipeline_version(
    uploaded.pipeline_id, versions.pipeline_versions[1].pipeline_version_id)
client.delete_pipeline(uploaded.pipeline_id)
assert client.list_pipelines().pipelines is None
print("all done")
