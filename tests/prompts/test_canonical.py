"""Canonical JSON: one text for one value, whatever file it was read from."""

import datetime
import decimal
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grao_pipeline.prompts.canonical import canonical_json

scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(values)
def test_json_reads_back_an_equal_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), scalars))
def test_the_order_of_keys_and_nulls_do_not_matter(value: dict[str, object]) -> None:
    reversed_with_nulls = {**dict(reversed(value.items())), "absent\0": None}
    assert canonical_json(reversed_with_nulls) == canonical_json(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1.0, "a": None}, '{"b":1}'),
        ([1.5, None, math.nan, math.inf, -0.0, 1e300], "[1.5,null,null,null,0,1e+300]"),
        ("é\u2028", '"é\u2028"'),
        ({"s": {"x": None, "y": (True,)}}, '{"s":{"y":[true]}}'),
        (datetime.datetime(2020, 1, 2, 3, 4, 5), '"2020-01-02T03:04:05"'),
        (datetime.date(2020, 1, 2), '"2020-01-02"'),
        (datetime.timedelta(minutes=1), "60"),
        (decimal.Decimal("1.10"), '"1.10"'),
    ],
)
def test_values_beyond_json_have_one_defined_form(value: object, expected: str) -> None:
    assert canonical_json(value) == expected


def test_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        canonical_json({"image": b"\x00"})
