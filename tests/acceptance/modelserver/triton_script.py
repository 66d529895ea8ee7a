"""What a user does with Triton's clients, both of them. Run under their own Python: HTTP address, gRPC address.

The server has the model ``m``, which is Iris by logistic regression, and ``two``, of the same folder's kind.
"""

import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

http_address, *grpc_addresses = sys.argv[1:]
rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])
labels = [0, 2]


def refused(call, *statuses):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() in statuses, (error.status(), error.message())
        assert error.message(), error
    else:
        raise AssertionError("it was not refused")


def infers(module, client, name="m", **options):
    for kind, datatype in ((np.float64, "FP64"), (np.float32, "FP32")):
        given = module.InferInput("x", [2, 4], datatype)
        given.set_data_from_numpy(rows.astype(kind), **options)
        found = client.infer(name, [given], request_id="42")
        assert found.as_numpy("output-0").tolist() == labels, found.as_numpy("output-0")
        named = client.infer(name, [given], outputs=[module.InferRequestedOutput("output-0")], model_version="1")
        assert named.as_numpy("output-0").tolist() == labels


def same_over_both(module, client, *, missing, broken):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("m") and client.is_model_ready("m", "1")
    infers(module, client)
    given = module.InferInput("x", [2, 4], "FP64")
    given.set_data_from_numpy(rows)
    refused(lambda: client.infer("none", [given]), missing)
    refused(lambda: client.infer("m", [given], outputs=[module.InferRequestedOutput("none")]), broken)
    wrong = module.InferInput("x", [1, 3], "FP64")
    wrong.set_data_from_numpy(rows[:1, :3])
    refused(lambda: client.infer("m", [wrong]), broken)
    client.unload_model("two")
    refused(lambda: client.infer("two", [given]), missing)
    client.load_model("two")
    assert client.is_model_ready("two")
    infers(module, client, "two")
    refused(lambda: client.load_model("none"), missing)


with over_http.InferenceServerClient(http_address, concurrency=4) as client:
    same_over_both(over_http, client, missing="404", broken="400")
    infers(over_http, client, binary_data=False)
    metadata = client.get_server_metadata()
    assert metadata["name"] and "binary_tensor_data" in metadata["extensions"], metadata
    metadata = client.get_model_metadata("m")
    assert metadata["inputs"][0]["shape"] == [-1, 4] and metadata["outputs"][0]["name"] == "output-0", metadata
    states = {row["name"]: row["state"] for row in client.get_model_repository_index()}
    assert states == {"m": "READY", "two": "READY"}, states
    given = over_http.InferInput("x", [2, 4], "FP64")
    given.set_data_from_numpy(rows)
    for algorithm in ("gzip", "deflate"):
        found = client.infer("m", [given], request_compression_algorithm=algorithm)
        assert found.as_numpy("output-0").tolist() == labels
    plain = client.infer("m", [given], outputs=[over_http.InferRequestedOutput("output-0", binary_data=False)])
    assert plain.get_response()["outputs"][0]["data"] == labels, plain.get_response()
    many = [client.async_infer("m", [given]) for _ in range(50)]
    assert all(one.get_result().as_numpy("output-0").tolist() == labels for one in many)

for address in grpc_addresses:
    with over_grpc.InferenceServerClient(address) as client:
        same_over_both(over_grpc, client, missing="StatusCode.NOT_FOUND", broken="StatusCode.INVALID_ARGUMENT")
        metadata = client.get_server_metadata()
        assert metadata.name and "binary_tensor_data" in metadata.extensions, metadata
        metadata = client.get_model_metadata("m")
        assert list(metadata.inputs[0].shape) == [-1, 4] and metadata.platform == "sklearn", metadata
        index = client.get_model_repository_index()
        assert {row.name: row.state for row in index.models} == {"m": "READY", "two": "READY"}, index
        given = over_grpc.InferInput("x", [2, 4], "FP64")
        given.set_data_from_numpy(rows)
        found = client.infer("m", [given], compression_algorithm="gzip", client_timeout=20)
        assert found.as_numpy("output-0").tolist() == labels
        large = np.repeat(rows, 50_000, axis=0)
        given = over_grpc.InferInput("x", list(large.shape), "FP64")
        given.set_data_from_numpy(large)
        assert client.infer("m", [given]).as_numpy("output-0").shape == (100_000,)
print("all done")
