"""What one Pod may have of the network that all share."""

from __future__ import annotations

import logging

import pytest

from lightship.cluster.node.network import shares


def test_one_pods_share_is_no_others() -> None:
    refusals = shares.Refusals()
    share = shares.Share("things", 2, refusals)
    assert [share.take("a") for _ in range(4)] == [True, True, False, False]
    assert share.take("b")
    share.give_back("a")
    assert share.take("a") and not share.take("a")
    assert (refusals.count("a", "things"), refusals.count("b", "things")) == (3, 0)
    assert all(share.take(shares.HOST) for _ in range(9))
    share.give_back(shares.HOST)


def test_a_rate_fills_up_again_to_one_seconds_worth() -> None:
    rate = shares.Rate("asks", 10, shares.Refusals())
    assert sum(rate.take("a", 5.0) for _ in range(30)) == 10
    assert rate.take("b", 5.0)
    assert sum(rate.take("a", 5.5) for _ in range(30)) == 5
    assert sum(rate.take("a", 99.0) for _ in range(30)) == 10


def test_a_pod_at_its_limit_is_told_of_once_and_in_sum_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    refusals = shares.Refusals()
    share = shares.Share("things", 0, refusals)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            share.take("a")
        assert [vars(record)["limit"] for record in caplog.records] == [0]
        refusals.forget("a")
        assert vars(caplog.records[1])["refused"] == 5
        refusals.forget("a")
        assert len(caplog.records) == 2
    assert refusals.count("a", "things") == 0


def test_strangers_do_not_make_memory_grow() -> None:
    rate = shares.Rate("asks", 1, shares.Refusals())
    for number in range(shares.LIMIT_SOURCES * 2 + 1):
        assert rate.take(str(number), 1.0)
    assert len(rate._left) <= shares.LIMIT_SOURCES
