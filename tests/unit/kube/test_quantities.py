"""Quantities as Kubernetes writes them back; the table is a real kube-apiserver 1.36's answers."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.kube import quantities


@pytest.mark.parametrize(("text", "shown"), [
    ("010", "010"), ("1000m", "1"), ("1.50", "1500m"), ("0.5", "500m"), ("1e3", "1e3"), ("1E3", "1E3"),
    ("1000k", "1M"), ("1024Mi", "1Gi"), ("1500Mi", "1500Mi"), ("1000Ki", "1000Ki"), ("0.5Gi", "512Mi"),
    ("1.5Gi", "1536Mi"), ("100", "100"), ("1000", "1k"), ("1024", "1024"), ("2048Ki", "2Mi"), ("0", "0"), ("0m", "0"),
    ("+5", "+5"), ("1000000", "1M"), ("1100m", "1100m"), ("1Ti", "1Ti"), ("0.1", "100m"), ("1.1Gi", "1181116006400m"),
    ("1.0", "1"), ("5.00", "5"), ("10000m", "10"), ("00.5", "500m"), ("1e-3", "1e-3"),
    ("123456789012345678", "123456789012345678"), ("1000n", "1m"), ("1u", "1m")])
def test_as_upstream_writes_them(text: str, shown: str) -> None:
    assert quantities.shown(text) == shown


@given(st.decimals(min_value=0, max_value=10**15, allow_nan=False, allow_infinity=False, places=4),
       st.sampled_from(("", "m", "k", "M", "G", "Ki", "Mi", "Gi")))
def test_the_amount_stays_up_to_a_thousandth_and_is_written_once_and_for_all(number: Decimal, suffix: str) -> None:
    text = f"{number}{suffix}"
    shown = quantities.shown(text)
    exact = quantities.parse(text) * 1000
    assert quantities.parse(shown) * 1000 == exact.to_integral_value(ROUND_CEILING)
    assert quantities.shown(shown) == shown


@given(st.text(max_size=20))
def test_what_is_no_quantity_stays(text: str) -> None:
    shown = quantities.shown(text)
    assert quantities.shown(shown) == shown
