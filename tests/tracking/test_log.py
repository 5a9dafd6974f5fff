"""Trackers hold what metrics.jsonl holds, each step once, and cannot stop what they follow."""

import importlib.util
import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.tracking.follow import log_run
from grao_pipeline.tracking.options import LogOptions
from tests import tiny

STEPS: list[dict[str, Any]] = [
    {"step": 1, "epoch": 0, "J": 0.25, "reward": 0.5, "entropy": None, "origins": [{"x": 1}], "tokens": 120},
    {"step": 2, "epoch": 0, "J": -1.5e-3, "reward": 0.75, "entropy": 2.25, "origins": [], "tokens": 80},
    {"step": 3, "epoch": 1, "skipped": "the loss is not finite", "tokens": 64},
]
EXPECTED: dict[int, dict[str, float]] = {
    1: {"epoch": 0, "J": 0.25, "reward": 0.5, "tokens": 120},
    2: {"epoch": 0, "J": -1.5e-3, "reward": 0.75, "entropy": 2.25, "tokens": 80},
    3: {"epoch": 1, "tokens": 64},
}
"""By step what a tracker holds: the numbers."""

Values = dict[int, dict[str, float]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training that has made three steps."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_steps(folder, STEPS)
    return folder


def write_steps(folder: Path, steps: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))


def in_event_files(folder: Path) -> Values:
    """What TensorBoard's reader finds."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    values: Values = {}
    for path in sorted(folder.glob("events.*")):
        for event in loader.RawEventFileLoader(str(path)).Load():
            parsed = pytest.importorskip("tensorboard.compat.proto.event_pb2").Event.FromString(event)
            for value in parsed.summary.value:
                assert value.tag not in values.setdefault(parsed.step, {}), "a step was logged twice"
                values[parsed.step][value.tag] = value.simple_value
    return values


def same(values: Values, expected: Values, tolerance: float = 0.0) -> bool:
    return {step: set(row) for step, row in values.items()} == {
        step: set(row) for step, row in expected.items()
    } and all(
        math.isclose(values[step][name], value, rel_tol=tolerance)
        for step, row in expected.items()
        for name, value in row.items()
    )


@pytest.mark.slow
def test_event_files_hold_the_metrics_once(run: Path) -> None:
    """Event files hold float32."""
    for logged in ({"model": 3}, {}):  # the second time there is nothing new
        assert tiny.grao_json("log", run, "--to", "tensorboard")["steps"] == logged
    assert same(in_event_files(run / "tensorboard" / "model"), EXPECTED, 1e-6)
    write_steps(run, [*STEPS, {"step": 4, "J": 2.0}])
    assert tiny.grao_json("log", run, "--to", "tensorboard")["steps"] == {"model": 1}
    assert same(in_event_files(run / "tensorboard" / "model"), EXPECTED | {4: {"J": 2.0}}, 1e-6)


def test_rounds_are_runs_with_their_evaluations(tmp_path: Path) -> None:
    store = tmp_path / "store" / "train"
    for number in (0, 1):
        write_steps(store / str(number), STEPS)
        link = tmp_path / f"round-{number}"
        link.mkdir()
        (link / "train").symlink_to(store / str(number))
    for name, reward in (("base", 0.25), ("round-0", 0.5), ("round-1", 0.75)):
        folder = tmp_path / name / "evaluate"
        folder.mkdir(parents=True)
        metrics = {"mean_reward": {"value": reward, "low": 0.0, "high": 1.0, "n": 4}, "ras": None}
        (folder / "metrics.json").write_text(json.dumps({"summary": {"metrics": metrics}}))
    summary = tiny.grao_json("log", tmp_path, "--to", "tensorboard")
    assert summary["steps"] == {"round-0/train": 3, "round-1/train": 3, "evaluation": 3}
    assert same(in_event_files(tmp_path / "tensorboard" / "round-1" / "train"), EXPECTED, 1e-6)
    rewards = in_event_files(tmp_path / "tensorboard" / "evaluation")
    assert rewards == {0: {"mean_reward": 0.25}, 1: {"mean_reward": 0.5}, 2: {"mean_reward": 0.75}}


ROUNDS = 12


@pytest.fixture
def rounds(tmp_path: Path) -> Path:
    """Twelve rounds, each with two groups of two samples and their advantages; the second group is unscored."""
    for number in range(ROUNDS):
        place = tmp_path / "rounds" / f"round-{number}"
        groups = [tiny.group_row(f"round {number}, group {n}", [f"a{n}", f"b{n}"], reference="r") for n in range(2)]
        computed = [
            {
                "group_id": group["group_id"],
                "rewards": [1.0, 0.0] if n == 0 else [None, None],
                "advantages": [0.5, -0.5] if n == 0 else [None, None],
                "reference_advantage": None,
                "reward_mean": 0.5,
                "reward_std": 0.5,
                "reference_reward": None,
                "token_weights": None,
                "masked_by": None,
            }
            for n, group in enumerate(groups)
        ]
        tiny.write_table(place / "generate", "groups", groups)
        tiny.write_table(place / "advantages", "advantages", computed)
    return tmp_path / "rounds"


def expected_sample(number: int, n: int, text: str, reward: float | None, advantage: float | None) -> list[object]:
    """Prompt, completion, reward and advantage of a row."""
    return [f"round {number}, group {n}", f"{text}{n}", reward, advantage]


def expected_samples(number: int) -> list[list[object]]:
    scored = [expected_sample(number, 0, "a", 1.0, 0.5), expected_sample(number, 0, "b", 0.0, -0.5)]
    return [*scored, *(expected_sample(number, 1, text, None, None) for text in "ab")]


@pytest.mark.slow
def test_samples_of_every_round_are_logged_once_and_in_order(rounds: Path, tmp_path: Path) -> None:
    """A tracker with tables writes what it gets; rounds after the tenth come after the second."""
    (tmp_path / "tables.py").write_text(
        "import json\nfrom grao_pipeline.tracking.base import Tracker\n\n"
        "class Tables(Tracker):\n    has_tables = True\n\n    def log(self, run, step, values):\n        return\n\n"
        "    def log_samples(self, run, step, rows):\n"
        "        with open(self.folder / 'samples.jsonl', 'a') as file:\n"
        "            print(json.dumps([run, step, rows]), file=file)\n"
    )
    for logged in ({"samples": ROUNDS}, {}):
        assert tiny.grao_json("log", rounds, "--to", f"{tmp_path}/tables.py:Tables")["steps"] == logged
    lines = [json.loads(line) for line in (rounds / "samples.jsonl").read_text().splitlines()]
    assert [(run, step) for run, step, _ in lines] == [("samples", number) for number in range(ROUNDS)]
    names = ("prompt", "completion", "reward", "advantage")
    for number, (_, _, rows) in enumerate(lines):
        assert [[row[name] for name in names] for row in rows] == expected_samples(number)


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="Trackio is not installed")
def test_trackio_holds_the_metrics_and_the_samples(
    rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test: Trackio reads its variable when it is imported."""
    import sqlite3

    write_steps(rounds / "round-0" / "train", STEPS)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    log_run(str(rounds), LogOptions(to=["trackio"], project="p"))
    [database] = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    metrics = {step: json.loads(text) for run, step, text in rows if run == "round-0/train"}
    assert same(metrics, EXPECTED)
    tables = [json.dumps(json.loads(text)) for run, _, text in rows if run == "samples"]
    assert [completions_in(text) for text in tables] == [["a0", "b0", "a1", "b1"]] * ROUNDS


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")
def test_mlflow_holds_the_samples(rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    log_run(str(rounds), LogOptions(to=["mlflow"], project="p"))
    for number in range(ROUNDS):
        [file] = (tmp_path / "mlflow").glob(f"*/*/artifacts/samples/round-{number}.json")
        table = json.loads(file.read_text())
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        names = ("prompt", "completion", "reward", "advantage")
        assert [[row[name] for name in names] for row in rows] == expected_samples(number)


def in_wandb_file(path: Path) -> tuple[str, Values]:
    """(name of the run, values) of W&B's offline file: 7 bytes, then LevelDB's log of protocol buffers. Its blocks have
    32 KiB; a piece of a record is a checksum (4 bytes), its length (2), its kind (1 the whole, 4 the last), bytes.
    """
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    data, position, record = path.read_bytes(), 7, b""
    name, values = "", Values()
    while position < len(data):
        rest = 32768 - position % 32768
        if rest < 7:  # padding: no piece begins here
            position += rest
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind not in (1, 4):
            continue
        parsed, record = proto.Record.FromString(record), b""
        name = parsed.run.display_name or name
        items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in parsed.history.item}
        if items:
            step = items["_step"]
            assert step not in values, "a step was logged twice"
            values[step] = {key: value for key, value in items.items() if key[0] != "_"}
    return name, values


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_holds_the_metrics_and_the_samples(rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network. One test: wandb reads its variables once in a process."""
    write_steps(rounds / "round-0" / "train", STEPS)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    log_run(str(rounds), LogOptions(to=["wandb"], project="p"))
    runs = dict(in_wandb_file(path) for path in (tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert set(runs) == {"round-0/train", "samples"}
    assert same(runs["round-0/train"], EXPECTED)
    files = list((tmp_path / "wandb").glob("offline-run-*/files/media/table/samples_*.json"))
    assert len(files) == ROUNDS
    assert all(completions_in(file.read_text()) == ["a0", "b0", "a1", "b1"] for file in files)


def completions_in(text: str) -> list[str]:
    """The completions in the JSON of a table, in order."""
    return re.findall(r'"([ab]\d)"', text)


def test_a_tracker_without_tables_gets_no_samples(rounds: Path) -> None:
    write_steps(rounds / "round-0" / "train", STEPS)
    assert tiny.grao_json("log", rounds, "--to", "tensorboard")["steps"] == {"round-0/train": 3}


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")
def test_mlflow_holds_the_metrics(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    log_run(str(run), LogOptions(to=["mlflow"], project="p"))
    client = mlflow.MlflowClient()
    [found_run] = client.search_runs([client.get_experiment_by_name("p").experiment_id])
    values: Values = {}
    for name in ("epoch", "J", "reward", "entropy", "tokens"):
        for metric in client.get_metric_history(found_run.info.run_id, name):
            values.setdefault(metric.step, {})[name] = metric.value
    assert same(values, EXPECTED)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, groups: str) -> tuple[str, Path]:
    root = tmp_path_factory.mktemp("tables")
    tiny.grao_json("score", groups, root / "scores", "--reward", "length", "--reward-arg", "target=20")
    tiny.grao_json("advantages", groups, root / "advantages", "--scores", root / "scores")
    return groups, root / "advantages"


@pytest.mark.slow
def test_a_tracker_that_is_killed_does_not_touch_the_training(
    tables: tuple[str, Path], model: Path, tmp_path: Path
) -> None:
    """One tracker kills its process at the first step, the other one logs all: both leave the same model."""
    killed = tmp_path / "killed.py"
    killed.write_text(
        "import os, signal\nfrom grao_pipeline.tracking.base import Tracker\n\n"
        "class Killed(Tracker):\n    def log(self, run, step, values):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    options = ["--model", model, "--groups-per-step", 3, "--learning-rate", 1e-3]
    models = {}
    for name, tracker in (("killed", f"{killed}:Killed"), ("logged", "tensorboard")):
        result = tiny.grao("train", *tables, tmp_path / name, *options, "--log-to", tracker, "--json")
        assert result.exit_code == 0, result.output
        models[name] = json.loads(result.stdout)["model"]
        assert ("ended with code -9. Nothing is lost: grao log" in result.stderr) == (name == "killed")
    assert models["killed"] == models["logged"]
    lines = [json.loads(line) for line in (tmp_path / "logged" / "metrics.jsonl").read_text().splitlines()]
    expected = {
        line["step"]: {key: value for key, value in line.items() if key != "step" and isinstance(value, int | float)}
        for line in lines
    }
    assert len(expected) > 1
    assert same(in_event_files(tmp_path / "logged" / "tensorboard" / "logged"), expected, 1e-6)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "--to: names no tracker"),
        (["--to", "tensorbord"], 2, "--to: unknown tracker 'tensorbord'. Did you mean tensorboard?"),
        (["--to", "tensorboard"], 1, "holds no metrics"),
    ],
)
def test_wrong_use_of_a_log_is_one_message(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    result = tiny.grao("log", tmp_path, *words)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


def test_a_training_refuses_an_unknown_tracker_before_any_work(tmp_path: Path, model: Path) -> None:
    result = tiny.grao("train", "g", "a", tmp_path / "out", "--model", model, "--log-to", "tensorbord")
    assert (result.exit_code, "--log-to: unknown tracker 'tensorbord'" in result.stderr) == (2, True)
    with pytest.raises(UsageError):
        log_run(str(tmp_path), LogOptions())
