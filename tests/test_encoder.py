"""The encoders."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd import JSONDataEncoder
from gearmancmd.encoder import TextDataEncoder

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_survives_the_round_trip(value):
    assert JSONDataEncoder.decode(JSONDataEncoder.encode(value)) == value


def test_fractions_are_decimals():
    assert JSONDataEncoder.decode(b"1.10") == Decimal("1.10")
    assert JSONDataEncoder.encode({"x": Decimal("1.10"), "y": 0.5}) == b'{"x":1.10,"y":0.5}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), object(), {1, 2}, {(1, 2): 3}])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        JSONDataEncoder.encode(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"{'a': 1}", b"1 2"])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(ValueError):
        JSONDataEncoder.decode(data)


def test_text_may_come_decoded():
    assert JSONDataEncoder.decode('"ü"') == "ü"
    assert TextDataEncoder.decode("ü") == "ü"


@given(st.binary())
def test_any_bytes_survive_as_text(data):
    assert TextDataEncoder.encode(TextDataEncoder.decode(data)) == data
    assert TextDataEncoder.encode(data) == data


def test_only_text_is_text():
    with pytest.raises(TypeError, match="expected str or bytes, got 5"):
        TextDataEncoder.encode(5)
