"""What a server's answer becomes for its caller."""

from __future__ import annotations

import pytest

from lightship import errors
from lightship.client import statuses


@pytest.mark.parametrize(("code", "kind"), [
    (400, errors.BadRequest), (401, errors.Unauthenticated), (403, errors.Forbidden), (404, errors.NotFound),
    (406, errors.InvalidInput), (409, errors.Conflict), (410, errors.Gone), (413, errors.TooLarge),
    (415, errors.InvalidInput), (422, errors.InvalidInput), (429, errors.Unavailable), (500, errors.InternalError),
    (502, errors.InternalError), (503, errors.Unavailable), (504, errors.DeadlineExceeded),
])
def test_a_code_without_a_known_reason_still_has_its_error(code: int, kind: type[errors.LightshipError]) -> None:
    status = b'{"kind":"Status","code":%d,"reason":"SomethingNew","message":"told"}' % code

    for body in (status, b"told"):
        error = statuses.error_of_body(code, body)
        assert type(error) is kind
        assert "told" in error.message


def test_a_reason_says_more_than_the_code() -> None:
    error = statuses.error_of({"code": 409, "reason": "AlreadyExists", "message": "there"})

    assert type(error) is errors.AlreadyExists
