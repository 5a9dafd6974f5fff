"""JSON of others: bounded in depth, without the numbers that JSON does not have."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.errors import InputError
from grao_pipeline.json_text import DEEPEST, InvalidJson, parse_json, parse_object, read_json_file

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.slow
@settings(max_examples=30)
@given(VALUES)
def test_what_json_holds_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_the_depth_is_bounded(brackets: str) -> None:
    opening = '{"a":' if brackets == "{}" else "["
    parse_json(opening * (DEEPEST - 1) + brackets + brackets[1] * (DEEPEST - 1))
    for depth in (DEEPEST + 1, 5_000):
        with pytest.raises(InvalidJson, match=f"nested deeper than {DEEPEST} levels"):
            parse_json(opening * (depth - 1) + brackets + brackets[1] * (depth - 1))


def test_many_values_side_by_side_are_not_deep() -> None:
    assert len(parse_json(json.dumps([[1], {"a": [2]}] * 1_000))) == 2_000


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert parse_json("[NaN, Infinity, -Infinity, 1e999, 1.5]") == [None, None, None, None, 1.5]
    assert parse_json("[NaN, Infinity, 1e999]", keep_infinity=True) == [None, math.inf, math.inf]
    with pytest.raises(InvalidJson, match="a number has thousands of digits"):
        parse_json("9" * 5_000)


def test_an_object_is_an_object() -> None:
    assert parse_object(b'{"a": 1}') == {"a": 1}
    with pytest.raises(InvalidJson, match=r"expected an object, found '\[1\]'"):
        parse_object("[1]")


def test_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n"a": }')
    with pytest.raises(InputError, match=r"a\.json, line 2: not valid JSON \(Expecting value\)\."):
        read_json_file(path)
