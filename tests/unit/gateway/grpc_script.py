"""Runs under an SDK's Python: a grpcio server and clients of it through the gateway, whose port stdin tells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

SERVICE = "inference.Test"
TOKEN = (("authorization", "Bearer good"), ("x-mine", "1"))
BIG = b"x" * 3_000_000
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Echo, in all four shapes."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        seen = dict(details.invocation_metadata)
        assert "authorization" not in seen
        match details.method.rpartition("/")[2]:
            case "Unary":
                return grpc.unary_unary_rpc_method_handler(self.unary)
            case "Fail":
                return grpc.unary_unary_rpc_method_handler(self.fail)
            case "Slow":
                return grpc.unary_unary_rpc_method_handler(self.slow)
            case "Stream":
                return grpc.unary_stream_rpc_method_handler(lambda request, context: iter([request] * 20))
            case "Both":
                return grpc.stream_stream_rpc_method_handler(self.both)
        return None

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-trailer", "t"),))
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: é")
        raise AssertionError

    def slow(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        import threading

        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)
        return request

    def both(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()


def code(call: object) -> tuple[grpc.StatusCode, str]:
    try:
        call()  # type: ignore[operator]
    except grpc.RpcError as problem:
        return problem.code(), problem.details()
    raise AssertionError("it was answered")


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Handlers()], options=OPTIONS)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    target, dead = input(), "dead-default.example.com"
    channel = grpc.insecure_channel(target, options=[("grpc.default_authority", "iris-default.example.com"), *OPTIONS])
    unary = channel.unary_unary(f"/{SERVICE}/Unary")
    for payload in (b"", b"hello", BIG):
        answer, call = unary.with_call(payload, metadata=TOKEN)
        assert answer == payload
        assert dict(call.trailing_metadata())["x-trailer"] == "t"
    futures = [unary.future(b"%d" % number * 1000, metadata=TOKEN) for number in range(300)]
    assert [future.result() for future in futures] == [b"%d" % number * 1000 for number in range(300)]
    assert list(channel.unary_stream(f"/{SERVICE}/Stream")(BIG[:400_000], metadata=TOKEN)) == [BIG[:400_000]] * 20
    answers: Iterator[bytes] = channel.stream_stream(f"/{SERVICE}/Both")(iter([b"a", BIG, b"c"]), metadata=TOKEN)
    assert list(answers) == [b"A", BIG.upper(), b"C"]
    assert code(lambda: channel.unary_unary(f"/{SERVICE}/Fail")(b"", metadata=TOKEN)) == (
        grpc.StatusCode.FAILED_PRECONDITION, "not like this: é")
    assert code(lambda: channel.unary_unary(f"/{SERVICE}/None")(b"", metadata=TOKEN))[0] == (
        grpc.StatusCode.UNIMPLEMENTED)
    assert code(lambda: unary(b""))[0] == grpc.StatusCode.UNAUTHENTICATED
    assert code(lambda: channel.unary_unary(f"/{SERVICE}/Slow")(b"", metadata=TOKEN, timeout=0.3))[0] == (
        grpc.StatusCode.DEADLINE_EXCEEDED)
    status, text = code(lambda: channel.unary_unary(f"/{SERVICE}/Slow")(b"", metadata=TOKEN))
    assert (status, "did not answer within" in text) == (grpc.StatusCode.DEADLINE_EXCEEDED, True), (status, text)
    with grpc.insecure_channel(target, options=[("grpc.default_authority", dead)]) as other:
        status, text = code(lambda: other.unary_unary(f"/{SERVICE}/Unary")(b"", metadata=TOKEN))
        assert (status, "could not connect" in text) == (grpc.StatusCode.UNAVAILABLE, True), (status, text)
    with grpc.insecure_channel(target) as nowhere:
        assert code(lambda: nowhere.unary_unary(f"/{SERVICE}/Unary")(b"", metadata=TOKEN))[0] == (
            grpc.StatusCode.NOT_FOUND)
    print("done", flush=True)
    if input() == "server":
        server.stop(0).wait()
        assert code(lambda: unary(b"", metadata=TOKEN))[0] == grpc.StatusCode.UNAVAILABLE
    print("over", flush=True)


if __name__ == "__main__":
    sys.exit(main())
