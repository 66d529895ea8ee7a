"""What a user's script does with an unmodified kfp SDK and nothing but a kubeconfig, on a platform that really runs."""

import sys
import time
from pathlib import Path

import kfp
from kfp import compiler, dsl

LIMIT_SECONDS = 120


@dsl.component(base_image="python:3.11")
def double(number: int) -> int:
    return 2 * number


@dsl.container_component
def wait():
    return dsl.ContainerSpec(image="busybox", command=["sleep", "1000"])


@dsl.pipeline(name="doubles")
def doubles(number: int = 4) -> int:
    first = double(number=number)
    return double(number=first.output).output


@dsl.pipeline(name="waits")
def waits():
    wait()


def eventually(look):
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return found


package, waiting = (str(Path(sys.argv[1], name)) for name in ("doubles.yaml", "waits.yaml"))
compiler.Compiler().compile(doubles, package)
compiler.Compiler().compile(waits, waiting)
client = kfp.Client()

pipeline = client.upload_pipeline(package, pipeline_name="Doubles it", description="by a script")
second = client.upload_pipeline_version(package, pipeline_version_name="v2", pipeline_name="Doubles it")
assert client.get_pipeline_id("Doubles it") == pipeline.pipeline_id
assert client.list_pipeline_versions(pipeline.pipeline_id).total_size == 2
experiment = client.create_experiment("by script")

run = client.run_pipeline(experiment.experiment_id, "once", pipeline_id=pipeline.pipeline_id,
                          version_id=second.pipeline_version_id, params={"number": 5}, enable_caching=False)
assert client.wait_for_run_completion(run.run_id, timeout=LIMIT_SECONDS, sleep_duration=1).state == "SUCCEEDED"

long = client.create_run_from_pipeline_package(waiting, experiment_name="by script", run_name="long")
eventually(lambda: client.get_run(long.run_id).state == "RUNNING")
client.terminate_run(long.run_id)
eventually(lambda: client.get_run(long.run_id).state == "CANCELED")

often = client.create_recurring_run(
    experiment.experiment_id, "often", interval_second=1, max_concurrency=2, pipeline_id=pipeline.pipeline_id,
    version_id=second.pipeline_version_id,
    params={"number": "[[Index]]"})


def made():
    runs = client.list_runs(experiment_id=experiment.experiment_id, page_size=100).runs
    return [each for each in runs if each.recurring_run_id == often.recurring_run_id]


eventually(lambda: sum(each.state == "SUCCEEDED" for each in made()) >= 2)
client.disable_recurring_run(often.recurring_run_id)
found = made()
assert len({each.scheduled_at for each in found}) == len(found)
assert {each.runtime_config.parameters["number"] for each in found} == set(range(1, len(found) + 1))
client.delete_recurring_run(often.recurring_run_id)

client.archive_run(run.run_id)
assert client.get_run(run.run_id).storage_state == "ARCHIVED"
client.unarchive_run(run.run_id)
client.archive_experiment(experiment.experiment_id)
client.delete_pipeline_version(pipeline.pipeline_id, second.pipeline_version_id)
for version in client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions:
    client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
client.delete_pipeline(pipeline.pipeline_id)
print("all done")
