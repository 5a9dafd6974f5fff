"""Replay: groups of further tables are trained on as if they stood behind those of the main one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from grao_pipeline.config import TrainOptions
from grao_pipeline.models import locate_model
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.provenance import train_provenance
from tests import tiny
from tests.training import oracle

Row = dict[str, Any]
Pair = tuple[str, str]


def write_pair(root: Path, groups: list[Row], advantages: list[Row], rows_per_part: int = 2) -> Pair:
    """The rows as two tables of ours."""
    groups_url = tiny.write_table(root / "groups", "groups", groups, rows_per_part)
    return groups_url, tiny.write_table(root / "advantages", "advantages", advantages, rows_per_part)


@pytest.fixture(scope="module")
def rows(groups: str, advantages: str) -> tuple[list[Row], list[Row]]:
    """Ten groups of the tiny model, all with a spread of rewards: four of round 3, three of round 2, three of round 0.

    The first six are by the model itself, the others by an earlier policy.
    """
    rounds = [3] * 4 + [2] * 3 + [0] * 3
    made = [
        {**row, "round": number, "policy": row["policy"] if number > 1 else "e" * 32}
        for row, number in zip(oracle.table_rows(groups), rounds, strict=True)
    ]
    return made, oracle.table_rows(advantages)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, rows: tuple[list[Row], list[Row]]) -> list[Pair]:
    """A pair of tables for each round."""
    root = tmp_path_factory.mktemp("three")
    cuts = [slice(0, 4), slice(4, 7), slice(7, 10)]
    return [write_pair(root / str(n), rows[0][cut], rows[1][cut]) for n, cut in enumerate(cuts)]


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory, rows: tuple[list[Row], list[Row]]) -> Pair:
    """One pair that holds all groups in the same order."""
    return write_pair(tmp_path_factory.mktemp("merged"), *rows, rows_per_part=3)


def options(model: Path, *more: object) -> list[object]:
    sizes = ["--groups-per-step", 3, "--epochs", 2, "--learning-rate", 1e-3, "--seed", 5]
    return ["--model", model, "--device", "cpu", "--allow-off-policy", *sizes, *more]


def replay(pairs: list[Pair]) -> list[object]:
    return [part for pair in pairs for part in ("--replay", *pair)]


def steps(out: Path) -> list[Row]:
    """The lines of metrics.jsonl without what a clock says."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "tokens_per_second")} for record in records]


def assert_same_weights(out: Path, other: Path) -> None:
    found, expected = load_file(out / "model.safetensors"), load_file(other / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_replayed_tables_train_what_one_table_with_all_groups_trains(
    tmp_path: Path, three: list[Pair], merged: Pair, model: Path
) -> None:
    apart = tiny.grao_json("train", *three[0], tmp_path / "apart", *options(model), *replay(three[1:]))
    whole = tiny.grao_json("train", *merged, tmp_path / "whole", *options(model))
    assert_same_weights(tmp_path / "apart", tmp_path / "whole")
    assert apart["model"] == whole["model"]
    assert apart["fingerprint"] != whole["fingerprint"]
    assert (apart["groups"], apart["groups_trained"]) == (10, 10)


def test_the_order_of_the_tables_is_part_of_the_training(three: list[Pair], model: Path) -> None:
    main, first, second = ((open_table(groups).fingerprint, open_table(made).fingerprint) for groups, made in three)
    source, given = locate_model(str(model)), TrainOptions(model=str(model))

    def provenance(*pairs: Pair) -> Provenance:
        return train_provenance(given, main[0], main[1], source, pairs)

    alone, one, both, turned = provenance(), provenance(first), provenance(first, second), provenance(second, first)
    assert len({each.fingerprint for each in (alone, one, both, turned)}) == 4
    assert "replay" not in alone.inputs
    assert both.inputs["replay"] == [list(first), list(second)]
    assert alone.fingerprint == train_provenance(given, main[0], main[1], source).fingerprint
