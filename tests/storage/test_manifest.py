"""Manifests and provenance: they survive a round trip, and what is not one is refused."""

import json
from importlib.metadata import version
from typing import Any

import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.storage.manifest import (
    Manifest,
    PartEntry,
    Provenance,
    differences,
    installed_versions,
    part_name,
)

PROVENANCE = Provenance("scores", "f" * 32, {"reward": "gsm8k"}, {"groups": "a" * 32}, {"engine": "é"})
MANIFEST = Manifest(PROVENANCE, (PartEntry("part-000000.parquet", 3, 100, "0" * 64), PartEntry("b", 2, 50, "1" * 64)))


def test_a_manifest_survives_its_own_json() -> None:
    assert Manifest.from_json(MANIFEST.to_json().encode(), "m") == MANIFEST


def test_a_manifest_is_plain_json_with_parts_and_provenance() -> None:
    value = json.loads(MANIFEST.to_json())
    assert value.pop("versions")["pyarrow"] == version("pyarrow")
    assert value == {
        "contract": 2,
        "table": "scores",
        "fingerprint": "f" * 32,
        "options": {"reward": "gsm8k"},
        "inputs": {"groups": "a" * 32},
        "details": {"engine": "é"},
        "rows": 5,
        "parts": [
            {"name": "part-000000.parquet", "rows": 3, "bytes": 100, "sha256": "0" * 64},
            {"name": "b", "rows": 2, "bytes": 50, "sha256": "1" * 64},
        ],
    }


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ({"reward": "a:f", "source": "1"}, {"reward": "a:f", "source": "2"}, "the code of reward 'a:f' has changed"),
        (
            {"estimator": "a:E", "estimator_source": "1"},
            {"estimator": "a:E", "estimator_source": "2"},
            "the code of estimator 'a:E' has changed",
        ),
        ({"reward": "a:f", "source": "1"}, {"reward": "a:f"}, "source was '1' and is now None"),
        ({"reward": "gsm8k", "version": 4}, {"reward": "math", "version": 3}, "reward was 'gsm8k' and is now 'math'"),
        ({"reward": "gsm8k", "version": 3}, {"reward": "gsm8k", "version": 4}, "version was 3 and is now 4"),
        (
            {"a": 1, "b": 2, "c": 3, "reward": "x"},
            {"d": 1, "reward": "y"},
            "reward was 'x' and is now 'y'; a was 1 and is now None; b was 2 and is now None",
        ),
    ],
)
def test_differences_are_named_first_of_what_both_have_and_of_code_as_changed(
    before: dict[str, str], now: dict[str, str], difference: str
) -> None:
    one, other = (Provenance("scores", "f", options, {}) for options in (before, now))
    assert differences(one, other) == difference


def test_the_order_of_options_does_not_change_a_byte() -> None:
    one = Provenance("scores", "f", {"a": 1, "b": 2}, {})
    other = Provenance("scores", "f", {"b": 2, "a": 1}, {})
    assert one.to_json() == other.to_json()


def changed(**change: Any) -> bytes:
    return json.dumps({**json.loads(MANIFEST.to_json()), **change}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        MANIFEST.to_json().encode()[:-10],
        changed(parts=None),
        changed(parts={"name": "x"}),
        changed(parts=[{"name": "x"}]),
        changed(parts=["part-000000.parquet"]),
        MANIFEST.to_json().replace('"inputs"', '"imputs"').encode(),
    ],
)
def test_an_invalid_manifest_is_reported_as_damaged(text: bytes) -> None:
    with pytest.raises(
        InputError, match=r"out/manifest\.json is damaged .* Run the command that wrote the table again"
    ):
        Manifest.from_json(text, "out/manifest.json")


def test_another_version_of_the_contract_is_refused_with_both_versions() -> None:
    with pytest.raises(InputError, match="version 3 of the data contract; this program reads the versions 1, 2"):
        Manifest.from_json(changed(contract=3), "out/manifest.json")


def test_parts_sort_by_name_in_the_order_of_their_numbers() -> None:
    assert part_name(7) == "part-000007.parquet"
    names = [part_name(index) for index in (0, 9, 10, 99, 100, 123_456)]
    assert names == sorted(names)


def test_only_versions_of_installed_packages_are_recorded() -> None:
    versions = installed_versions()
    assert versions["polars"] == version("polars")
    assert versions["grao-pipeline"] == version("grao-pipeline")
    assert all(versions.values())
