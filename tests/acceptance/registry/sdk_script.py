"""What a user's script does with the real model-registry client. Run under the client's own Python: URL, token."""

import sys

from model_registry import ModelRegistry, utils

address, token = sys.argv[1:]
host, port = address.rsplit(":", 1)
registry = ModelRegistry(host, int(port), author="alice", is_secure=False, user_token=token)

made = registry.register_model(
    "iris", utils.s3_uri_from("iris/model", bucket="models", endpoint="http://minio", region="x"),
    version="1.0", description="first", model_format_name="sklearn", model_format_version="1",
    model_source_kind="kfp", model_source_class="pipelinerun", model_source_id="run-1", model_source_name="train",
    metadata={"accuracy": 0.97, "rows": 150, "blessed": True, "algorithm": "forest"})
found = registry.get_registered_model("iris")
assert found and found.id == made.id, found
version = registry.get_model_version("iris", "1.0")
assert version and version.description == "first" and version.author == "alice", version
assert version.custom_properties == {"accuracy": 0.97, "rows": 150, "blessed": True, "algorithm": "forest"}, version
artifact = registry.get_model_artifact("iris", "1.0")
assert artifact and artifact.uri.startswith("s3://models/iris/model"), artifact
assert artifact.model_source_id == "run-1", artifact
assert registry.get_registered_model("none") is None

found.description = "changed"
registry.update(found)
version.custom_properties["accuracy"] = 0.5
registry.update(version)
artifact.model_format_version = "2"
registry.update(artifact)
assert registry.get_registered_model("iris").description == "changed"
assert registry.get_model_version("iris", "1.0").custom_properties["accuracy"] == 0.5
assert registry.get_model_artifact("iris", "1.0").model_format_version == "2"

for number in range(3):
    registry.register_model(f"m{number}", "minio://b/k", version="1", model_format_name="f", model_format_version="1")
names = [each.name for each in registry.get_registered_models().page_size(2).order_by_creation_time().descending()]
assert names == ["m2", "m1", "m0", "iris"], names
assert [each.name for each in registry.get_model_versions("iris")] == ["1.0"]
try:
    registry.register_model("iris", "minio://b/k", version="1.0", model_format_name="f", model_format_version="1")
    raise AssertionError("a version was made twice")
except Exception as error:
    assert "already" in str(error) or getattr(error, "status", None) == 409, error
print("all done")
