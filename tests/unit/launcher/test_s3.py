"""The launcher's store at an S3 endpoint: what lies where, what is refused, and what outlasts a bad connection."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import http.server
import json
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightship.artifacts.local import LocalStore
from lightship.launcher import places, s3, s3_requests, sigv4
from lightship.launcher.files import StagingError
from tests import s3_server

pytestmark = pytest.mark.sdk
PART = 5 * 1024 * 1024
"""S3's own least size of a part that is not the last."""


@dataclasses.dataclass
class Bench:
    """A store with what it logged and how long it would have paused, below a prefix of its own."""

    endpoint: str
    lines: list[str] = dataclasses.field(default_factory=list)
    pauses: list[float] = dataclasses.field(default_factory=list)
    prefix: str = dataclasses.field(default_factory=lambda: f"minio://mlpipeline/{uuid.uuid4().hex}")

    @property
    def requests(self) -> s3_requests.Requests:
        return s3_requests.Requests(s3_requests.site(self.endpoint, s3_server.KEYS), self.lines.append,
                                    sleep=self.pauses.append)

    @property
    def store(self) -> s3.S3Store:
        return s3.S3Store(self.requests, part_bytes=PART)

    def objects(self) -> dict[str, int]:
        """The keys below the prefix, with their sizes, as another client sees them."""
        code = ("import sys, json, botocore.session as b; endpoint, prefix = sys.argv[1:]\n"
                "c = b.Session().create_client('s3', 'us-east-1', endpoint_url=endpoint, aws_access_key_id='x', "
                "aws_secret_access_key='y')\n"
                "print(json.dumps({o['Key'][len(prefix):]: o['Size'] for page in c.get_paginator('list_objects_v2')"
                ".paginate(Bucket='mlpipeline', Prefix=prefix) for o in page.get('Contents', [])}))")
        done = subprocess.run([str(s3_server.botocore_python()), "-c", code, self.endpoint, s3.parse(self.prefix)[1]],
                              capture_output=True, text=True, check=True, timeout=60)
        found: dict[str, int] = json.loads(done.stdout)
        return found


@pytest.fixture
def bench(s3_endpoint: str) -> Bench:
    return Bench(s3_endpoint)


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART])
def test_a_file_comes_back_as_it_went_and_its_digest_is_that_of_its_bytes(
        bench: Bench, tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "in").write_bytes(data)

    kept = bench.store.put(f"{bench.prefix}/a b+c=ü~", str(tmp_path / "in"))
    bench.store.fetch(f"{bench.prefix}/a b+c=ü~", str(tmp_path / "out"))

    assert (kept.digest, kept.size_bytes) == ("sha256:" + hashlib.sha256(data).hexdigest(), size)
    assert (tmp_path / "out").read_bytes() == data
    assert bench.objects() == {"/a b+c=ü~": size}


async def test_a_folder_has_the_digest_that_the_platforms_own_store_gives(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for name in ("a", "deep/b", "deep/er/c &<>", "ä"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(name)

    kept = bench.store.put(f"{bench.prefix}/model", str(model))
    own = await LocalStore(tmp_path / "other").put("minio://bucket/model", model)
    bench.store.fetch(f"{bench.prefix}/model", str(tmp_path / "back"))

    assert (kept.digest, kept.size_bytes) == (own.digest, own.size_bytes)
    assert bench.objects() == {f"/model/{name}": len(name.encode()) for name in ("a", "deep/b", "deep/er/c &<>", "ä")}
    assert sorted(str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*")) == [
        "a", "deep", "deep/b", "deep/er", "deep/er/c &<>", "ä"]


def test_a_folder_that_is_put_again_holds_nothing_of_the_first_try(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    bench.store.put(f"{bench.prefix}/model", str(model))
    assert bench.objects() == {"/model/": 0}
    (model / "old").write_text("1")
    bench.store.put(f"{bench.prefix}/model", str(model))
    (model / "old").rename(model / "new")
    bench.store.put(f"{bench.prefix}/model", str(model))

    assert bench.objects() == {"/model/new": 1}


def test_an_empty_folder_comes_back_as_one(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bench.store.put(f"{bench.prefix}/empty", str(tmp_path / "empty"))
    bench.store.fetch(f"{bench.prefix}/empty", str(tmp_path / "back"))

    assert list((tmp_path / "back").iterdir()) == []


def test_a_folder_of_more_objects_than_one_listing_has_comes_back_whole(bench: Bench, tmp_path: Path) -> None:
    for number in range(25):
        bench.requests.send("PUT", *s3.parse(f"{bench.prefix}/many/{number:02}"), body=b"%d" % number)
    s3.S3Store(bench.requests, listed_at_once=10).fetch(f"{bench.prefix}/many", str(tmp_path / "back"))

    assert {path.name: path.read_text() for path in (tmp_path / "back").iterdir()} == {
        f"{number:02}": str(number) for number in range(25)}


def test_keys_that_lead_out_of_the_folder_are_refused(bench: Bench, tmp_path: Path) -> None:
    bucket, key = s3.parse(f"{bench.prefix}/model")
    for name in ("/../../evil", "/a//b"):
        bench.requests.send("PUT", bucket, key + name, body=b"x")
        with pytest.raises(StagingError, match="is not the path of a file"):
            bench.store.fetch(f"{bench.prefix}/model", str(tmp_path / "a" / "back" / uuid.uuid4().hex))
        bench.requests.send("DELETE", bucket, key + name)
    assert not (tmp_path / "evil").exists()


def test_what_is_not_there_is_said(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="there is nothing at"):
        bench.store.fetch(f"{bench.prefix}/absent", str(tmp_path / "out"))
    with pytest.raises(StagingError, match="Make the bucket"):
        bench.store.fetch("minio://no-such-bucket/absent", str(tmp_path / "out"))
    with pytest.raises(StagingError, match="Make the bucket"):
        bench.store.write("minio://no-such-bucket/x", b"x")
    assert bench.pauses == []


@pytest.mark.parametrize("uri", ["minio://b", "minio://b/../x", "minio:///x", "minio://b//x", "gs://b/x", "x",
                                 "minio://../x/y", "minio://b/\0", "minio://b/a\nb", "minio://b/" + "x" * 1025])
def test_what_cannot_be_a_key_is_refused(bench: Bench, uri: str) -> None:
    with pytest.raises(StagingError):
        bench.store.write(uri, b"x")


def test_file_names_that_object_stores_cannot_hold_are_refused_before_anything_moves(
        bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("1")
    (tmp_path / "model" / "b\nc").write_text("1")
    with pytest.raises(StagingError, match="cannot be an object's key"):
        bench.store.put(f"{bench.prefix}/model", str(tmp_path / "model"))
    assert bench.objects() == {}


def test_keys_and_endpoints_that_are_missing_or_wrong_are_named() -> None:
    with pytest.raises(StagingError, match="AWS_ACCESS_KEY_ID"):
        places.open_store("https://minio:9000", {}, print)
    with pytest.raises(StagingError, match="not an S3 endpoint"):
        places.open_store("http://user@minio:9000", s3_server.KEYS, print)
    store = places.open_store("https://minio:9000", s3_server.KEYS, print)
    assert store.handles("minio://b/x") and store.handles("s3://b/x") and not store.handles("gs://b/x")


Behaviour = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


class Faulty:
    """A server between the store and S3 that fails as it is told, one behaviour a request, and then passes on."""

    def __init__(self, endpoint: str) -> None:
        self.faults: list[str] = []
        self.seen: list[str] = []
        target = endpoint.removeprefix("http://")
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = outer.faults.pop(0) if outer.faults else ""
                outer.seen.append(f"{self.command} {fault}".strip())
                if fault == "reset":
                    self.connection.close()
                    return
                if fault.isdigit():
                    self.send_response(int(fault))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                connection = http.client.HTTPConnection(target, timeout=30)
                connection.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                if fault == "lost":  # S3 has done it, and nobody hears of it
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:len(data) // 2] if fault == "half" else data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def faulty(s3_endpoint: str) -> Iterator[Faulty]:
    between = Faulty(s3_endpoint)
    serving = threading.Thread(target=between.server.serve_forever)
    serving.start()
    yield between
    between.server.shutdown()
    serving.join()
    between.server.server_close()


@pytest.mark.parametrize("faults", [["reset"], ["503", "500", "429"], ["lost"], ["half"], ["reset"] * 7])
def test_a_passing_fault_is_outlasted(faulty: Faulty, tmp_path: Path, faults: list[str]) -> None:
    bench = Bench(faulty.endpoint)
    (tmp_path / "in").write_bytes(b"12345678")
    faulty.faults = list(faults)
    bench.store.put(f"{bench.prefix}/x", str(tmp_path / "in"))
    faulty.faults = list(faults)
    bench.store.fetch(f"{bench.prefix}/x", str(tmp_path / "out"))

    assert (tmp_path / "out").read_bytes() == b"12345678"
    assert len(bench.pauses) == 2 * len(faults) - (faults == ["half"])  # an answer without a body has no half
    assert any("trying again" in line for line in bench.lines)


def test_a_fault_that_stays_is_given_up_with_its_reason(faulty: Faulty, tmp_path: Path) -> None:
    bench = Bench(faulty.endpoint)
    faulty.faults = ["503"] * 20
    with pytest.raises(StagingError, match=r"failed 8 times .*503"):
        bench.store.write(f"{bench.prefix}/x", b"1")
    assert len(bench.pauses) == 7 and sum(bench.pauses) <= 40


def test_a_refusal_is_not_tried_again(faulty: Faulty) -> None:
    bench = Bench(faulty.endpoint)
    faulty.faults = ["403"]
    with pytest.raises(StagingError, match="AWS_SECRET_ACCESS_KEY"):
        bench.store.write(f"{bench.prefix}/x", b"1")
    assert bench.pauses == [] and faulty.seen == ["PUT 403"]


def test_redirects_are_not_followed_since_the_signature_holds_for_one_place(faulty: Faulty) -> None:
    bench = Bench(faulty.endpoint)
    faulty.faults = ["301"]
    with pytest.raises(StagingError, match="301"):
        bench.store.write(f"{bench.prefix}/x", b"1")


def test_an_upload_in_parts_whose_end_was_not_heard_is_known_to_be_over(faulty: Faulty, tmp_path: Path) -> None:
    bench = Bench(faulty.endpoint)
    (tmp_path / "in").write_bytes(b"x" * (2 * PART))
    faulty.faults = ["", "", "reset", "", "lost"]  # begin, part 1, part 2 twice, the end
    kept = bench.store.put(f"{bench.prefix}/x", str(tmp_path / "in"))

    assert kept.size_bytes == 2 * PART and bench.objects() == {"/x": 2 * PART}


def test_an_upload_in_parts_that_fails_leaves_nothing(faulty: Faulty, tmp_path: Path) -> None:
    bench = Bench(faulty.endpoint)
    (tmp_path / "in").write_bytes(b"x" * (2 * PART))
    faulty.faults = ["", "", "403"]
    with pytest.raises(StagingError, match="403"):
        bench.store.put(f"{bench.prefix}/x", str(tmp_path / "in"))

    bucket, _ = s3.parse(bench.prefix)
    left = s3_requests.parse_xml(bench.requests.send("GET", bucket, query=(("uploads", ""),)).body)
    assert bench.objects() == {} and not s3_requests.text_of(left, "UploadId")


def test_signatures_are_those_of_botocore() -> None:
    cases = [["GET", "/mlpipeline/a%20b%2Bc%3D%C3%BC~/x", [], ""],
             ["PUT", "/mlpipeline/k", [["partNumber", "2"], ["uploadId", "a/b+c= d~é"]], "token"],
             ["POST", "/mlpipeline/k", [["uploads", ""]], ""],
             ["GET", "/mlpipeline", [["prefix", "a&b/ü"], ["list-type", "2"], ["continuation-token", "x=="]], "t"]]
    code = """
import json, sys, hashlib, datetime
import botocore.auth as auth, botocore.awsrequest as r, botocore.credentials as c
from urllib.parse import quote
class Fixed(datetime.datetime):
    @classmethod
    def utcnow(cls): return cls(2026, 3, 4, 5, 6, 7)
    @classmethod
    def now(cls, tz=None): return cls(2026, 3, 4, 5, 6, 7, tzinfo=tz)
auth.get_current_datetime = lambda *a, **k: Fixed(2026, 3, 4, 5, 6, 7)
out = []
for method, path, query, token in json.loads(sys.argv[1]):
    url = 'http://minio:9000' + path
    if query: url += '?' + '&'.join(quote(a, safe='~') + '=' + quote(b, safe='~') for a, b in query)
    request = r.AWSRequest(method=method, url=url, data=b'body' if method == 'PUT' else b'')
    request.context['payload_signing_enabled'] = True
    signer = auth.S3SigV4Auth(c.Credentials('AK', 'SK', token or None), 's3', 'eu-west-1')
    signer.add_auth(request)
    out.append(request.headers['Authorization'])
print(json.dumps(out))
"""
    done = subprocess.run([str(s3_server.botocore_python()), "-c", code, json.dumps(cases)],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    for (method, path, query, token), expected in zip(cases, json.loads(done.stdout), strict=True):
        ours = sigv4.headers(
            sigv4.Request(str(method), "minio:9000", str(path), tuple((a, b) for a, b in query),
                          hashlib.sha256(b"body" if method == "PUT" else b"").hexdigest()),
            sigv4.Credentials("AK", "SK", str(token)), "eu-west-1", 1772600767.0)
        assert ours["authorization"] == expected
