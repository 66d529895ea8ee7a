"""What a user does with KServe's own inference clients. Run under their own Python: HTTP URL, gRPC address."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

url, grpc_address = sys.argv[1:]
rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])
labels = [0, 2]


def request(raw):
    given = InferInput(name="x", shape=[2, 4], datatype="FP64", data=None if raw else rows.ravel().tolist())
    if raw:
        given.set_data_from_numpy(rows, binary_data=True)
    return InferRequest(model_name="m", infer_inputs=[given], request_id="42", parameters={"a": "b"})


async def rest():
    for protocol in ("v1", "v2"):
        client = InferenceRESTClient(RESTConfig(protocol=protocol, retries=3))
        assert await client.is_server_live(url) and (protocol == "v1" or await client.is_server_ready(url))
        assert await client.is_model_ready(url, "m")
        if protocol == "v1":
            answer = await client.infer(url, {"instances": rows.tolist()}, model_name="m")
            assert answer == {"predictions": labels}, answer
            continue
        for raw in (False, True):
            answer = await client.infer(url, request(raw), model_name="m")
            assert answer.id == "42" and answer.outputs[0].as_numpy().tolist() == labels, answer
        wrong = InferRequest(model_name="m", infer_inputs=[InferInput(name="x", shape=[1, 3], datatype="FP64",
                                                                      data=[[1.0, 2.0, 3.0]])])
        try:
            await client.infer(url, wrong, model_name="m")
            raise AssertionError("it was not refused")
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 400 and "error" in error.response.json(), error.response.text


async def grpc():
    client = InferenceGRPCClient(grpc_address)
    assert await client.is_server_live() and await client.is_server_ready()
    assert await client.is_model_ready("m")
    for raw in (False, True):
        answer = await client.infer(request(raw))
        assert answer.id == "42" and answer.outputs[0].as_numpy().tolist() == labels, answer
    answers = await asyncio.gather(*(client.infer(request(True)) for _ in range(50)))
    assert all(one.outputs[0].as_numpy().tolist() == labels for one in answers)
    await client.close()


asyncio.run(rest())
asyncio.run(grpc())
print("all done")
