"""A pipeline that asks for everything of kfp-kubernetes which a process can see; the tests compile and run it."""

from kfp import dsl, kubernetes


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def look() -> dict:  # type: ignore[type-arg]
    import os

    def content(path: str) -> str:
        try:
            with open(path) as file:
                return file.read()
        except OSError as error:
            return type(error).__name__

    with open("/scratch/own", "w") as file:
        file.write("mine")
    with open("/ephemeral/own", "w") as file:
        file.write("mine")
    shm = os.statvfs("/dev/shm")
    memory = os.statvfs("/memory")
    return {
        "environment": {name: os.environ.get(name) for name in (
            "PASSWORD", "MODE", "DYNAMIC", "NOT_THERE", "MY_POD", "MY_NAMESPACE", "MY_LABEL")},
        "files": {path: content(path) for path in (
            "/secrets/password", "/config/mode", "/optional/nothing", "/scratch/own", "/ephemeral/own", "/data/left")},
        "user": [os.getuid(), os.getgid()],
        "shm_mib": shm.f_frsize * shm.f_blocks // 2**20,
        "memory_mib": memory.f_frsize * memory.f_blocks // 2**20,
    }


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def leave(text: str) -> None:
    import os

    os.makedirs("/volume/part", exist_ok=True)
    with open("/volume/part/left", "w") as file:
        file.write(text)


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def name_of_secret() -> str:
    return "sesame"


@dsl.component(base_image="python:3.11")  # type: ignore[untyped-decorator]
def sleepy() -> None:
    import time

    time.sleep(600)


@dsl.pipeline(name="everything-of-kubernetes")  # type: ignore[untyped-decorator]
def everything(config: str = "settings") -> dict:  # type: ignore[type-arg]
    secret = name_of_secret()
    claim = kubernetes.CreatePVC(pvc_name_suffix="-kept", access_modes=["ReadWriteOnce"], size="1Gi",
                                 storage_class_name="standard", annotations={"why": "test"})
    left = leave(text="from before")
    left.set_caching_options(False)
    kubernetes.mount_pvc(left, pvc_name=claim.outputs["name"], mount_path="/volume")
    seen = look().after(left)
    seen.set_caching_options(False)
    kubernetes.use_secret_as_env(seen, "sesame", {"password": "PASSWORD"})
    kubernetes.use_secret_as_env(seen, secret.output, {"password": "DYNAMIC"})
    kubernetes.use_secret_as_env(seen, "nobody", {"nothing": "NOT_THERE"}, optional=True)
    kubernetes.use_secret_as_volume(seen, secret.output, "/secrets")
    kubernetes.use_config_map_as_env(seen, config, {"mode": "MODE"})
    kubernetes.use_config_map_as_volume(seen, config, "/config")
    kubernetes.use_config_map_as_volume(seen, "nobody", "/optional", optional=True)
    kubernetes.use_field_path_as_env(seen, "MY_POD", "metadata.name")
    kubernetes.use_field_path_as_env(seen, "MY_NAMESPACE", "metadata.namespace")
    kubernetes.use_field_path_as_env(seen, "MY_LABEL", "metadata.labels['team']")
    kubernetes.add_pod_label(seen, "team", "blue")
    kubernetes.add_pod_annotation(seen, "note", "kept")
    kubernetes.mount_pvc(seen, pvc_name=claim.outputs["name"], mount_path="/data", sub_path="part")
    kubernetes.empty_dir_mount(seen, "scratch", "/scratch")
    kubernetes.empty_dir_mount(seen, "memory", "/memory", medium="Memory", size_limit="8Mi")
    kubernetes.add_ephemeral_volume(seen, "fleeting", "/ephemeral", ["ReadWriteOnce"], "1Gi", "standard")
    kubernetes.set_security_context(seen, run_as_user=1234, run_as_group=2345, run_as_non_root=True)
    kubernetes.add_node_selector_json(seen, {"kubernetes.io/os": "linux"})
    kubernetes.add_toleration_json(seen, [{"key": "gpu", "operator": "Exists"}])
    kubernetes.add_toleration(seen, key="spot", operator="Equal", value="yes", effect="NoSchedule")
    kubernetes.add_node_affinity(seen, match_expressions=[
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}])
    kubernetes.set_image_pull_policy(seen, "IfNotPresent")
    kubernetes.set_image_pull_secrets(seen, ["pull"])
    kubernetes.set_timeout(seen, 300)
    kubernetes.DeletePVC(pvc_name=claim.outputs["name"]).after(seen)
    return seen.output  # type: ignore[no-any-return]


@dsl.pipeline(name="too-long")  # type: ignore[untyped-decorator]
def too_long() -> None:
    task = sleepy()
    kubernetes.set_timeout(task, 1)


@dsl.pipeline(name="nowhere")  # type: ignore[untyped-decorator]
def nowhere() -> None:
    task = name_of_secret()
    task.set_caching_options(False)
    kubernetes.add_node_selector(task, "cloud", "other")
