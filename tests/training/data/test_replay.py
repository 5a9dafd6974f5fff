"""Replay: groups of further tables are trained on as if they stood behind those of the main one."""

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from grao_pipeline.models.source import locate_model
from grao_pipeline.schemas import PER_TOKEN
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.objectives.base import FakeObjective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.provenance import train_provenance
from tests import tiny
from tests.training import oracle
from tests.training.ranks import Training, metrics, steps_logged, timeless

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


def assert_same_weights(out: Path, other: Path) -> None:
    found, expected = load_file(out / "model.safetensors"), load_file(other / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_replayed_tables_train_what_one_table_with_all_groups_trains(
    tmp_path: Path, three: list[Pair], merged: Pair, model: Path
) -> None:
    apart = tiny.grao_json("train", *three[0], tmp_path / "apart", *options(model), *replay(three[1:]))
    whole = tiny.grao_json("train", *merged, tmp_path / "whole", *options(model))
    assert_same_weights(tmp_path / "apart", tmp_path / "whole")
    assert apart["model"] == whole["model"]
    assert apart["fingerprint"] != whole["fingerprint"]
    assert (apart["groups"], apart["groups_trained"]) == (10, 10)


def test_an_empty_table_adds_nothing(three: list[Pair], tmp_path: Path) -> None:
    """Of no parts: in a round in which the chat template refused every prompt."""
    full, empty = (
        (open_table(groups), open_table(advantages)) for groups, advantages in (three[0], write_pair(tmp_path, [], []))
    )
    ids = [row["group_id"] for row in oracle.table_rows(three[0][0])]
    for data in (TrainingSet(*full, replay=[empty]), TrainingSet(*empty, replay=[full])):
        assert [data[index].group_id for index in range(len(data))] == ids
        assert data.num_groups == 4
    assert len(TrainingSet(*empty)) == 0


def test_the_order_of_the_tables_is_part_of_the_training(three: list[Pair], model: Path) -> None:
    main, first, second = ((open_table(groups).fingerprint, open_table(made).fingerprint) for groups, made in three)
    source, given = locate_model(str(model)), TrainOptions(model=str(model))

    def provenance(*pairs: Pair) -> Provenance:
        return train_provenance(given, main[0], main[1], source, pairs)

    alone, one, both, turned = provenance(), provenance(first), provenance(first, second), provenance(second, first)
    assert len({each.fingerprint for each in (alone, one, both, turned)}) == 4
    assert alone.inputs["replay"] == []
    assert both.inputs["replay"] == [list(first), list(second)]
    assert alone.fingerprint == train_provenance(given, main[0], main[1], source).fingerprint


@pytest.mark.slow
def test_a_killed_training_of_several_tables_ends_as_if_undisturbed(
    tmp_path: Path, three: list[Pair], model: Path
) -> None:
    """The summary, too: its diagnostics by origin are of the whole first epoch, begun before the kill."""
    more = [*options(model, "--groups-per-step", 1, "--checkpoint-steps", 1), *replay(three[1:])]
    whole, out = tmp_path / "whole", tmp_path / "out"
    expected = tiny.grao_json("train", *three[0], whole, *more)
    killed = Training(1, *three[0], out, *more).kill_when(lambda: steps_logged(out) >= 2)
    assert killed.returncode == -signal.SIGKILL
    found = tiny.grao_json("train", *three[0], out, *more)
    assert 1 <= found["resumed_from_step"] < 20
    assert_same_weights(out, whole)
    assert timeless(metrics(out)) == timeless(metrics(whole))
    assert found["origins"] == expected["origins"]
    again = tiny.grao_json("train", *three[0], out, *more)
    assert again["was_complete"]
    assert again["origins"] == expected["origins"]
    inputs = json.loads((out / "manifest.json").read_text())["inputs"]
    prints = [[open_table(url).fingerprint for url in pair] for pair in three]
    assert [[inputs["groups"], inputs["advantages"]], *inputs["replay"]] == prints


@pytest.mark.slow
def test_rounds_behind_are_counted_from_the_newest_of_all_tables(
    tmp_path: Path, three: list[Pair], model: Path
) -> None:
    """The tables hold rounds 3, 2 and 0; the main one need not be the newest."""
    for behind, trained, rounds in ((0, 4, [3]), (1, 7, [3, 2]), (2, 7, [3, 2]), (3, 10, [3, 2, 0])):
        more = options(model, "--max-rounds-behind", behind, "--epochs", 1)
        found = tiny.grao_json("train", *three[0], tmp_path / str(behind), *more, *replay(three[1:]))
        assert (found["groups"], found["groups_trained"], found["groups_too_old"]) == (10, trained, 10 - trained)
        assert [origin["round"] for origin in found["origins"]] == rounds
        assert [origin["rounds_behind"] for origin in found["origins"]] == [3 - number for number in rounds]
    more = options(model, "--max-rounds-behind", 1, "--epochs", 1)
    found = tiny.grao_json("train", *three[2], tmp_path / "turned", *more, *replay([three[0]]))
    assert (found["groups_trained"], found["groups_too_old"]) == (4, 3)
    refused = tiny.grao("train", *three[2], tmp_path / "none", *options(model, "--max-rounds-behind", 1))
    assert refused.exit_code == 0, refused.output  # alone, round 0 is the newest


@pytest.mark.slow
def test_other_policies_in_a_replayed_table_are_refused_unless_allowed(
    tmp_path: Path, three: list[Pair], model: Path
) -> None:
    more = ["--model", model, "--device", "cpu"]
    tiny.grao_json("train", *three[0], tmp_path / "own", *more, *replay([three[1]]))
    refused = tiny.grao("train", *three[0], tmp_path / "out", *more, *replay(three[1:]))
    assert refused.exit_code == 1
    assert f"{three[2][0]} was sampled by policy {'e' * 32}" in refused.output
    assert "--allow-off-policy" in refused.output


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_the_same_groups_twice_are_refused(
    tmp_path: Path, three: list[Pair], merged: Pair, model: Path, dry: list[object]
) -> None:
    command = ["train", *three[0], tmp_path / "out", *options(model, *dry)]
    same = tiny.grao(*command, *replay([three[1], three[0]]))
    assert same.exit_code == 2
    assert f"--replay: {three[0][0]} holds the groups of {three[0][0]}" in same.output
    twice = tiny.grao(*command, *replay([three[1], three[1]]))
    assert twice.exit_code == 2
    shared = tiny.grao(*command, *replay([three[1], merged]))
    assert shared.exit_code == 1
    first = open_table(three[0][0]).arrow(["group_id"])["group_id"][0].as_py()
    assert f"4 groups are in {three[0][0]} and in {merged[0]}, e.g. {first}." in shared.output
    assert not (tmp_path / "out").exists()


def test_a_replayed_table_is_checked_like_the_main_one(tmp_path: Path, three: list[Pair], model: Path) -> None:
    command = ["train", *three[0], tmp_path / "out", *options(model)]
    mixed = tiny.grao(*command, "--replay", three[1][0], three[2][1])
    assert mixed.exit_code == 1
    assert "does not hold the groups of part 0" in mixed.output
    missing = tiny.grao(*command, "--replay", tmp_path / "nowhere", three[1][1])
    assert missing.exit_code == 1
    assert "nowhere does not exist" in missing.output
    rows = [{**row, "completion_token_ids": [[] for _ in row["completions"]]} for row in oracle.table_rows(three[1][0])]
    unknown = dict.fromkeys((*PER_TOKEN, "reference_token_ids"))
    texts = [{**row, **unknown} for row in rows]
    without = write_pair(tmp_path / "texts", texts, oracle.table_rows(three[1][1]))
    refused = tiny.grao(*command, *replay([without]))
    assert refused.exit_code == 1
    assert f"{without[0]} has texts but no token ids" in refused.output


@pytest.mark.slow
def test_a_dry_run_counts_all_tables(tmp_path: Path, three: list[Pair], merged: Pair, model: Path) -> None:
    apart = tiny.grao_json("train", *three[0], tmp_path / "out", *options(model, "--dry-run"), *replay(three[1:]))
    whole = tiny.grao_json("train", *merged, tmp_path / "out", *options(model, "--dry-run"))
    for name in ("steps", "groups", "tokens", "unshared_tokens", "largest_micro_batch"):
        assert apart[name] == whole[name]
    assert [origin["groups_trained"] for origin in apart["origins"]] == [4, 3, 3]
    assert not (tmp_path / "out").exists()


class Recorder(FakeObjective):
    """Keeps the weights of tokens that it is given, by the sequence's advantage."""

    traits = Traits(is_linear=True, takes_corrections=True)
    seen: ClassVar[dict[float, list[float]]] = {}

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        for row, advantage in enumerate(inputs.advantages.tolist()):
            self.seen[advantage] = inputs.token_weights[row][inputs.token_mask[row]].tolist()
        return super().__call__(inputs)


def compare(model: Any, group: Row) -> Iterator[tuple[list[float], list[float]]]:
    """Of each sample its tokens' log-probs by transformers, and the stored ones."""
    for ids, stored in zip(group["completion_token_ids"], group["completion_logprobs"], strict=True):
        with torch.no_grad():
            yield oracle.sequence_logprobs(model, group["prompt_token_ids"], ids).tolist(), stored


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory, rows: tuple[list[Row], list[Row]]) -> list[Pair]:
    """Four groups of the model's own in round 1, and six with the log-probs of another model: round 0.

    Every sequence's advantage is its own number, to tell it by.
    """
    root = tmp_path_factory.mktemp("stale")
    earlier = oracle.load_model(tiny.make_model(root / "earlier", seed=1))
    groups = []
    for number, row in enumerate(rows[0]):
        own = [stored for _, stored in compare(earlier, row)]
        other = [logprobs for logprobs, _ in compare(earlier, row)]
        changes = {"round": 1} if number < 4 else {"round": 0, "policy": "e" * 32}
        groups.append({**row, **changes, "completion_logprobs": own if number < 4 else other})
    advantages = [
        {**row, "advantages": [10.0 * number + i for i in range(len(row["advantages"]))]}
        | {"reference_advantage": None if row["reference_advantage"] is None else 10.0 * number + 9}
        for number, row in enumerate(rows[1])
    ]
    cuts = [slice(0, 4), slice(4, 10)]
    return [write_pair(root / str(n), groups[cut], advantages[cut]) for n, cut in enumerate(cuts)]


@pytest.mark.slow
def test_a_stale_origin_is_corrected_and_a_fresh_one_is_not(tmp_path: Path, stale: list[Pair], model: Path) -> None:
    """The factors that the objective sees, against min(r, cap) from transformers' log-probs in float64."""
    more = ["--correction", "truncated-is", "--ratio-cap", 1.5, "--objective", f"{__name__}:Recorder"]
    sizes = ["--groups-per-step", 10, "--epochs", 1, "--tokens-per-batch", 200]
    Recorder.seen.clear()
    tiny.grao_json("train", *stale[0], tmp_path / "out", *options(model, *sizes, *more), *replay(stale[1:]))
    exact = oracle.load_model(model, "float64")
    below = above = 0
    for number, group in enumerate([row for pair in stale for row in oracle.table_rows(pair[0])]):
        for sample, (logprobs, stored) in enumerate(compare(exact, group)):
            found = Recorder.seen.pop(10.0 * number + sample)
            expected = [min(math.exp(a - b), 1.5) for a, b in zip(logprobs, stored, strict=True)]
            assert found == pytest.approx(expected, rel=1e-4)
            if number < 4:
                assert found == pytest.approx([1.0] * len(found), rel=1e-4)
            below += sum(factor < 0.99 for factor in found)
            above += sum(factor == 1.5 for factor in found)
    assert min(below, above) > 20
    # What is left are references: nothing to compare with.
    assert {weight for weights in Recorder.seen.values() for weight in weights} == {1.0}
    assert len(Recorder.seen) == 9


@pytest.mark.slow
def test_diagnostics_of_every_origin_equal_those_from_transformers_log_probs(
    tmp_path: Path, stale: list[Pair], model: Path
) -> None:
    """Over micro-batches and the steps of the first epoch; steps so small that the model stays what it was."""
    sizes = ["--groups-per-step", 3, "--tokens-per-batch", 100, "--learning-rate", 1e-12]
    found = tiny.grao_json("train", *stale[0], tmp_path / "out", *options(model, *sizes), *replay(stale[1:]))
    exact = oracle.load_model(model, "float64")
    assert [(origin["round"], origin["rounds_behind"]) for origin in found["origins"]] == [(1, 0), (0, 1)]
    for pair, origin, count in zip(stale, found["origins"], (4, 6), strict=True):
        groups = oracle.table_rows(pair[0])
        assert origin["groups_table"] == open_table(pair[0]).fingerprint
        assert origin["policy"] == groups[0]["policy"]
        assert (origin["groups"], origin["groups_trained"], origin["samples"]) == (count, count, 4 * count)
        samples = [np.subtract(*both) for group in groups for both in compare(exact, group)]
        logs = np.concatenate(samples)
        weights = np.exp([values.mean() for values in samples])
        assert origin["tokens"] == len(logs)
        assert origin["kl_behavior"] == pytest.approx(float((np.exp(logs) - 1 - logs).mean()), rel=1e-4, abs=1e-9)
        assert origin["kl_behavior_k1"] == pytest.approx(float(-logs.mean()), rel=1e-4, abs=1e-6)
        size = weights.sum() ** 2 / (len(weights) * (weights**2).sum())
        assert origin["effective_sample_size"] == pytest.approx(float(size), rel=1e-5)
        outside = (np.exp(logs) < 0.8) | (np.exp(logs) > 1.2)
        assert origin["outside_band"] == pytest.approx(float(outside.mean()), abs=1.01 / len(logs))
    fresh, old = found["origins"]
    assert (fresh["outside_band"], fresh["effective_sample_size"]) == (0.0, pytest.approx(1.0, abs=1e-9))
    assert old["outside_band"] > 0.3
    assert old["effective_sample_size"] < 0.99


@pytest.mark.slow
def test_people_see_every_origin(tmp_path: Path, three: list[Pair], model: Path) -> None:
    shown = tiny.grao("train", *three[0], tmp_path / "out", *options(model), *replay(three[1:])).stdout
    lines = [line.split() for line in shown[shown.index("origins") :].splitlines()[1:5]]
    # A table with a row per origin would be wider than a terminal: its columns are lines.
    assert lines == [
        ["round", "3", "2", "0"],
        ["rounds", "behind", "0", "1", "3"],
        ["groups", "4", "3", "3"],
        ["groups", "trained", "4", "3", "3"],
    ]
