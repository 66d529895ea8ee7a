"""What a run promises whatever happens: retries, termination, cache, a killed server, failures that say why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lightship.domains.pipelines import names, reconciler
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS, PODS, SECRETS
from lightship.lib.clock import SYSTEM
from lightship.records import notices, run_history
from lightship.records import pipeline_rows as rows
from tests.acceptance.pipelines.harness import WAIT_SECONDS, Platform, platform
from tests.unit.pipelines import specs

pytestmark = pytest.mark.asyncio(loop_scope="session")


def shell(script: str, *, image: str = "busybox", **container: Any) -> specs.Spec:
    return {"container": {"image": image, "command": ["sh", "-c", script], **container}}


def one_step(script: str, *, outputs: specs.Spec | None = None, task: specs.Spec | None = None,
             **container: Any) -> specs.Spec:
    step = {**specs.task("comp-step"), **(task or {})}
    return specs.pipeline({"step": step}, {"comp-step": specs.component("step", outputs=outputs)},
                          exec_step=shell(script, **container))


WRITE = ("mkdir -p $(dirname {{$.outputs.artifacts['thing'].path}}); echo made >{{$.outputs.artifacts['thing'].path}};"
         " echo -n 1.0 > {{$.outputs.parameters['n'].output_file}}")
OUT = {**specs.parameters(n="NUMBER_INTEGER"), "artifacts": {"thing": {"artifactType": {
    "schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}}


async def test_a_failing_step_tells_its_exit_code_and_its_last_words(shared_platform: Platform) -> None:
    done = await shared_platform.run(one_step("echo the cause is plain; exit 3"))
    assert done.run.state == rows.FAILED and done.run.error == 'step "root/step": exit code 3'
    assert "exit code 3" in done.task("step").error and "the cause is plain" in done.task("step").error


async def test_dollars_in_what_a_step_is_given_stay_as_they_are(shared_platform: Platform) -> None:
    """Kubernetes replaces ``$(NAME)`` in a command line: what its author wrote there, and not what it is given."""
    odd = "$$5 $(GREETING) $(KFP_RUN_ID) $ $"
    script = 'printf "%s|%s|%s" "$0" "$1" "$GIVEN" > {{$.outputs.parameters[\'Output\'].output_file}}'
    container = {"image": "busybox", "command": ["sh", "-c", script],
                 "args": ["$(GREETING)", "{{$.inputs.parameters['odd']}}"],
                 "env": [{"name": "GREETING", "value": "hello"},
                         {"name": "GIVEN", "value": "$(GREETING) {{$.inputs.parameters['odd']}}"}]}
    done = await shared_platform.run(specs.pipeline(
        {"step": specs.task("comp-step", inputs={"odd": specs.constant(odd)})},
        {"comp-step": specs.component("step", inputs=specs.parameters(odd="STRING"), outputs=specs.STRING_OUT)},
        exec_step={"container": container}))
    assert done.run.state == rows.SUCCEEDED, done.task("step").error
    assert done.task("step").outputs.parameters["Output"] == f"hello|{odd}|hello {odd}"


async def test_outputs_of_a_container_component_are_kept_typed_and_digested(shared_platform: Platform) -> None:
    done = await shared_platform.run(one_step(WRITE, outputs=OUT))
    assert done.run.state == rows.SUCCEEDED, done.task("step").error
    outputs = done.task("step").outputs
    assert outputs.parameters == {"n": 1}
    thing = outputs.artifacts["thing"][0]
    assert thing.digest.startswith("sha256:") and thing.size_bytes == 5
    assert await shared_platform.artifacts.read(thing.uri, 100) == b"made\n"


async def test_what_lies_on_no_machine_that_steps_see_is_not_imported(shared_platform: Platform) -> None:
    importer = {"importer": {"artifactUri": {"constant": "file:///srv/data"}, "typeSchema": {
        "schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}
    done = await shared_platform.run(specs.pipeline(
        {"take": specs.task("comp-take")}, {"comp-take": specs.component("take", outputs={"artifacts": {
            "artifact": OUT["artifacts"]["thing"]}})}, exec_take=importer))
    assert done.run.state == rows.FAILED
    assert "file:///srv/data" in done.task("take").error and "minio://" in done.task("take").error


async def test_a_steps_time_covers_what_its_command_took(shared_platform: Platform) -> None:
    done = await shared_platform.run(one_step("sleep 0.3"))
    step = done.task("step")
    assert step.started_at and step.finished_at
    assert (step.finished_at - step.started_at).total_seconds() >= 0.3


async def test_a_retry_policy_is_followed_and_then_the_step_fails(shared_platform: Platform) -> None:
    done = await shared_platform.run(one_step("exit 1", task={
        "retryPolicy": {"maxRetryCount": 2, "backoffDuration": "0.01s"}}))
    step = done.task("step")
    assert (step.state, step.attempt, step.retries) == (rows.FAILED, 2, 2)
    assert "attempt 3 of 3" in step.error


async def test_a_step_that_reads_a_secret_is_a_miss_once_the_secret_is_another(shared_platform: Platform) -> None:
    client = shared_platform.client("tests")
    spec = one_step('test "$PASSWORD"', task={"cachingOptions": {"enableCache": True}})
    config = {"secretAsEnv": [{"secretNameParameter": {"runtimeValue": {"constant": "sesame"}},
                               "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}]}],
              "configMapAsVolume": [{"configMapName": "none", "mountPath": "/none", "optional": True}]}
    stored = {"pipeline_spec": spec, "platform_spec": {"platforms": {"kubernetes": {
        "deploymentSpec": {"executors": {"exec-step": config}}}}}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sesame", "namespace": "default"},
              "stringData": {"password": "one"}}
    await client.create(SECRETS, secret)
    states = [(await shared_platform.run(stored)).task("step").state for _ in range(2)]
    assert states == [rows.SUCCEEDED, rows.CACHED]
    await client.patch(SECRETS, Key("default", "sesame"), {"stringData": {"password": "two"}})
    assert (await shared_platform.run(stored)).task("step").state == rows.SUCCEEDED
    await client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "none", "namespace": "default"}, "data": {}})
    assert (await shared_platform.run(stored)).task("step").state == rows.SUCCEEDED


async def test_equal_content_is_a_hit_and_a_hit_whose_artifact_is_gone_is_a_miss(shared_platform: Platform) -> None:
    spec = one_step(WRITE, outputs=OUT, task={"cachingOptions": {"enableCache": True}},
                    env=[{"name": "UNIQUE", "value": "cache-test"}])
    first = await shared_platform.run(spec)
    second = await shared_platform.run(spec)
    assert first.task("step").state == rows.SUCCEEDED and second.task("step").state == rows.CACHED
    assert second.task("step").cached_from == first.task("step").task_id
    assert second.task("step").outputs == first.task("step").outputs and not second.task("step").pod
    await shared_platform.artifacts.delete(first.task("step").outputs.artifacts["thing"][0].uri)
    third = await shared_platform.run(spec)
    assert third.task("step").state == rows.SUCCEEDED
    changed = one_step(WRITE, outputs=OUT, task={"cachingOptions": {"enableCache": True}},
                       env=[{"name": "UNIQUE", "value": "another"}])
    assert (await shared_platform.run(changed)).task("step").state == rows.SUCCEEDED


async def test_pods_are_let_go_once_the_outcome_is_recorded(shared_platform: Platform) -> None:
    done = await shared_platform.run(one_step("true"))
    await until(shared_platform, done.run.run_id, lambda pods: pods and not any(map(objects.finalizers, pods)))


async def test_a_terminated_run_ends_and_so_do_its_processes(shared_platform: Platform) -> None:
    key = await shared_platform.submit(one_step("sleep 1000"))
    await until(shared_platform, key.name, lambda pods: any(
        objects.status(pod).get("phase") == "Running" for pod in pods))
    await shared_platform.database.run(lambda connection: run_history.terminate(connection, key.name, SYSTEM.now()))
    shared_platform.notices.publish(notices.RUNS, key)
    done = await shared_platform.finish(key)
    assert done.run.state == rows.CANCELED and done.task("step").state == rows.CANCELED
    await until(shared_platform, key.name, lambda pods: not pods)


async def test_a_terminated_run_still_cleans_up(shared_platform: Platform) -> None:
    told = specs.component("told", inputs=specs.parameters(status="TASK_FINAL_STATUS"), outputs=specs.STRING_OUT)
    status = {"status": {"taskFinalStatus": {"producerTask": "work"}}}
    spec = specs.pipeline(
        {"work": specs.task("comp-work"), "never": specs.task("comp-work", after=["work"]),
         "told": specs.task("comp-told", after=["work"], inputs=status, **specs.RUN_ALWAYS)},
        {"comp-work": specs.component("work"), "comp-told": told}, exec_work=shell("sleep 1000"),
        exec_told=shell("echo '{{$.inputs.parameters['status']}}' >{{$.outputs.parameters['Output'].output_file}}"))
    key = await shared_platform.submit(spec)
    await until(shared_platform, key.name, lambda pods: any(
        objects.status(pod).get("phase") == "Running" for pod in pods))
    await shared_platform.database.run(lambda connection: run_history.terminate(connection, key.name, SYSTEM.now()))
    shared_platform.notices.publish(notices.RUNS, key)
    done = await shared_platform.finish(key)
    assert done.run.state == done.task("work").state == rows.CANCELED and done.task("never").state == rows.SKIPPED
    assert done.task("told").state == rows.SUCCEEDED
    assert '"state":"CANCELLED"' in done.task("told").outputs.parameters["Output"]


async def test_a_run_past_its_deadline_fails_and_cleans_up_as_one_that_was_terminated(
        shared_platform: Platform) -> None:
    spec = specs.pipeline(
        {"work": specs.task("comp-work"), "tidy": specs.task("comp-tidy", after=["work"], **specs.RUN_ALWAYS)},
        {"comp-work": specs.component("work"), "comp-tidy": specs.component("tidy")},
        exec_work=shell("sleep 1000"), exec_tidy=shell("true"))
    done = await shared_platform.run({"pipeline_spec": spec, "platform_spec": {"platforms": {"kubernetes": {
        "pipelineConfig": {"activeDeadlineSeconds": 1}}}}})
    assert (done.run.state, done.run.error) == (rows.FAILED, "the run's deadline of 1 seconds passed")
    assert done.task("work").state == rows.CANCELED and done.task("tidy").state == rows.SUCCEEDED


async def test_a_step_may_have_a_volume_at_tmp_and_an_output_in_any_of_its_volumes(shared_platform: Platform) -> None:
    script = ("set -e; touch /tmp/mine; mkdir -p /scratch/deep $(dirname {{$.outputs.output_file}});"
              " echo made > /scratch/deep/thing; echo -n 1 > {{$.outputs.parameters['n'].output_file}};"
              """ echo '{"artifacts": {"thing": {"artifacts": [{"custom_path": "/scratch/deep/thing"}]}}}'"""
              " > {{$.outputs.output_file}}")
    config = {"emptyDirMounts": [{"volumeName": "mine", "mountPath": "/tmp"},
                                 {"volumeName": "scratch", "mountPath": "/scratch"}]}
    done = await shared_platform.run({"pipeline_spec": one_step(script, outputs=OUT), "platform_spec": {"platforms": {
        "kubernetes": {"deploymentSpec": {"executors": {"exec-step": config}}}}}})
    assert done.run.state == rows.SUCCEEDED, done.task("step").error
    thing = done.task("step").outputs.artifacts["thing"][0]
    assert await shared_platform.artifacts.read(thing.uri, 100) == b"made\n"


async def test_a_runs_pods_go_when_their_time_is_over(shared_platform: Platform) -> None:
    stored = {"pipeline_spec": one_step("true"), "platform_spec": {"platforms": {"kubernetes": {"pipelineConfig": {
        "resourceTtlOnCompletion": 1, "resourceTtlOnFailure": 3600}}}}}
    done = await shared_platform.run(stored)
    assert done.run.state == rows.SUCCEEDED
    await until(shared_platform, done.run.run_id, lambda pods: not pods)
    assert (await shared_platform.finish(Key("default", done.run.run_id))).run == done.run, "its records stay"


async def test_a_step_that_cannot_be_placed_waits_and_says_why(shared_platform: Platform) -> None:
    key = await shared_platform.submit(one_step("true", resources={
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"}}))
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            loaded = await shared_platform.runs.load(key)
            assert loaded is not None
            told = [task.error for task in loaded[1] if task.path == "root/step"]
            if told and "nvidia.com/gpu" in told[0]:
                break
            await asyncio.sleep(0.05)
    await shared_platform.database.run(lambda connection: run_history.terminate(connection, key.name, SYSTEM.now()))
    shared_platform.notices.publish(notices.RUNS, key)
    assert (await shared_platform.finish(key)).run.state == rows.CANCELED


async def test_an_importer_is_done_by_the_engine(shared_platform: Platform) -> None:
    await shared_platform.artifacts.put("minio://data/in.csv", b"a,b\n")
    made = {"artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}}
    taken = {"artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}}
    use = specs.task("comp-use")
    use["inputs"]["artifacts"] = {"data": {"taskOutputArtifact": {
        "producerTask": "importer", "outputArtifactKey": "artifact"}}}
    spec = specs.pipeline(
        {"importer": specs.task("comp-importer"), "use": use},
        {"comp-importer": specs.component("importer", outputs=made),
         "comp-use": specs.component("use", inputs=taken, outputs=specs.STRING_OUT)},
        exec_importer={"importer": {"artifactUri": {"constant": "minio://data/in.csv"},
                                    "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}},
        exec_use=shell("cat {{$.inputs.artifacts['data'].path}} > {{$.outputs.parameters['Output'].output_file}}"))
    done = await shared_platform.run(spec)
    assert done.run.state == rows.SUCCEEDED, done.run.error
    assert done.task("use").outputs.parameters == {"Output": "a,b\n"}
    assert not done.task("importer").pod


async def test_a_failed_run_that_is_retried_repeats_only_what_failed_and_what_came_of_it(
        shared_platform: Platform) -> None:
    made = {"artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}}}
    spec = specs.pipeline(
        {"good": specs.task("comp-good"), "importer": specs.task("comp-importer"),
         "after": specs.task("comp-good", after=["importer"]),
         "exit": specs.task("comp-good", after=["importer", "good"], **specs.RUN_ALWAYS)},
        {"comp-good": specs.component("good"), "comp-importer": specs.component("importer", outputs=made)},
        exec_good=shell("true"),
        exec_importer={"importer": {"artifactUri": {"constant": "minio://data/late.csv"},
                                    "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}})
    first = await shared_platform.run(spec)
    assert first.run.state == rows.FAILED and "late.csv" in first.run.error
    assert first.task("after").state == rows.SKIPPED and first.task("exit").state == rows.SUCCEEDED
    await shared_platform.artifacts.put("minio://data/late.csv", b"a,b\n")
    key = await shared_platform.database.run(
        lambda connection: run_history.retry(connection, first.run.run_id, SYSTEM.now()))
    shared_platform.notices.publish(notices.RUNS, key)
    again = await shared_platform.finish(key)
    assert again.run.state == rows.SUCCEEDED, again.run.error
    assert again.task("good") == first.task("good")
    assert again.task("after").state == rows.SUCCEEDED
    assert again.task("exit").pod != first.task("exit").pod
    assert again.tasks["root"].finished_at > first.tasks["root"].finished_at


async def test_a_step_cannot_leak_files_through_a_symbolic_link(shared_platform: Platform) -> None:
    script = ("mkdir -p $(dirname {{$.outputs.artifacts['thing'].path}});"
              " ln -s /etc/passwd {{$.outputs.artifacts['thing'].path}}")
    done = await shared_platform.run(one_step(script, outputs=OUT))
    assert done.run.state == rows.FAILED
    assert "leads outside" in done.task("step").error


async def test_a_stopped_server_goes_on_with_its_runs_and_spends_no_retry(tmp_path: Path) -> None:
    spec = specs.pipeline(
        {"first": specs.task("comp-first"), "long": specs.task("comp-long", after=["first"])},
        {"comp-first": specs.component("first"), "comp-long": specs.component("long")},
        exec_first=shell("true"), exec_long=shell("sleep 2"))
    async with platform(tmp_path / "data") as before:
        key = await before.submit(spec)
        await until(before, key.name, lambda pods: any(
            objects.annotations(pod)[names.PATH_ANNOTATION] == "root/long"
            and objects.status(pod).get("phase") == "Running" for pod in pods))
    async with platform(tmp_path / "data") as after:
        done = await after.finish(key)
    assert done.run.state == rows.SUCCEEDED, done.run.error
    assert done.task("first").attempt == 0, "what had succeeded is not run again"
    assert (done.task("long").attempt, done.task("long").retries) == (1, 0)


async def until(running: Platform, run_id: str, wanted: Any) -> None:
    """Wait until the run's Pods are as wanted."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = await running.client("tests").list(PODS)
            pods = [pod for pod in found.items if objects.labels(pod).get(names.RUN_LABEL) == run_id]
            if wanted(pods):
                return
            await asyncio.sleep(0.02)




async def test_what_cleans_up_after_a_stopped_run_has_a_time_of_its_own(tmp_path: Path) -> None:
    spec = specs.pipeline(
        {"work": specs.task("comp-work"), "tidy": specs.task("comp-tidy", after=["work"], **specs.RUN_ALWAYS)},
        {"comp-work": specs.component("work"), "comp-tidy": specs.component("tidy")},
        exec_work=shell("sleep 1000"), exec_tidy=shell("sleep 1000"))
    async with platform(tmp_path / "platform", options=reconciler.Options(exit_seconds=1.0)) as running:
        key = await running.submit(spec)
        await until(running, key.name, lambda pods: any(
            objects.status(pod).get("phase") == "Running" for pod in pods))
        await running.database.run(lambda connection: run_history.terminate(connection, key.name, SYSTEM.now()))
        running.notices.publish(notices.RUNS, key)
        done = await running.finish(key)
    assert done.run.state == done.task("tidy").state == rows.CANCELED
    assert done.task("tidy").error == "the run was terminated, and a task that cleans up after that has 1 seconds"
