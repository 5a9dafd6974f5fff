"""`grao verify`: a whole chain passes, and one byte changed anywhere in it is named."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from grao_pipeline.lineage.options import VerifyOptions
from grao_pipeline.lineage.verify import VerifySummary, verify_chain
from grao_pipeline.report.outputs import outputs_below
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import write_record
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.testing import group_row, write_table
from tests import tiny

SAMPLING = ["--engine", "transformers", "--samples", 2, "--max-new-tokens", 6, "--temperature", 1.0]
FILES = (
    *("data/part-000000.parquet", "data/.manifest.parquet"),
    *("groups/part-000000.parquet", "groups/.manifest.parquet"),
    *("scores/part-000000.parquet", "scores/.manifest.parquet"),
    *("advantages/part-000000.parquet", "advantages/.manifest.parquet"),
    *("model/model.safetensors", "model/config.json", "model/tokenizer.json", "model/manifest.json"),
    "model/metrics.jsonl",
    *("base/model.safetensors", "base/config.json", "base/tokenizer.json"),
)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with every stage's output, from a data set to a trained model and its evaluation."""
    root = tmp_path_factory.mktemp("chain") / "runs" / "here"  # two folders away from the session's other models
    shutil.copytree(model, root / "base")
    rows = [{"prompt": f"Say the number {i}.", "completion": f"It is {i}."} for i in range(4)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny.grao_json("prompts", root / "rows.jsonl", root / "data")
    tiny.grao_json("generate", root / "data", root / "groups", "--model", root / "base", *SAMPLING)
    tiny.grao_json("score", root / "groups", root / "scores", "--reward", "length", "--reward-arg", "target=20")
    tiny.grao_json("advantages", root / "groups", root / "advantages", "--scores", root / "scores")
    tiny.grao_json("train", root / "groups", root / "advantages", root / "model", "--model", root / "base")
    tiny.grao_json("evaluate", root / "groups", root / "scores", root / "evaluation")
    return root


def verified(place: Path) -> VerifySummary:
    return verify_chain(str(place), VerifyOptions())


def test_a_whole_chain_passes(chain: Path) -> None:
    summary = tiny.grao_json("verify", chain / "model", "--complete")
    assert {(one["role"], one["state"], Path(one["place"]).name) for one in summary["chain"]} == {
        ("output", "intact", "model"),
        ("groups", "intact", "groups"),
        ("advantages", "intact", "advantages"),
        ("scores", "intact", "scores"),
        ("prompts", "intact", "data"),
        ("model", "intact", "base"),
    }
    assert (summary["problems"], summary["missing"]) == ([], 0)


def test_a_copy_of_the_base_model_with_another_tokenizer_is_not_taken_for_it(chain: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "here"
    shutil.copytree(chain, run)
    for name in ("a-chat", "z-chat"):
        shutil.copytree(run / "base", run / name)
        with (run / name / "tokenizer.json").open("a") as file:
            file.write("\n")
    summary = verified(run / "model")
    assert (summary.problems, summary.missing) == ([], 0)
    assert "base" in {Path(one.place or "").name for one in summary.chain}


def test_all_outputs_of_a_folder_are_verified(chain: Path) -> None:
    summary = tiny.grao_json("verify", chain)
    outputs = {Path(one["place"]).name for one in summary["chain"]}
    assert outputs == {"data", "groups", "scores", "advantages", "model", "evaluation", "base"}


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_named(chain: Path, name: str) -> None:
    path = chain / name
    data = path.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0x01
    try:
        path.write_bytes(changed)
        summary = verified(chain / "model")
        command = tiny.grao("verify", chain / "model") if name == "groups/part-000000.parquet" else None
    finally:
        path.write_bytes(data)
    where = chain / "base" if name.startswith("base") else path
    assert any(str(where) in problem for problem in summary.problems), summary
    if command is not None:
        assert (command.exit_code, str(path) in command.stderr) == (1, True)


@pytest.mark.slow
def test_a_forged_table_is_noticed_although_its_checksums_fit(chain: Path, tmp_path: Path) -> None:
    """Its options were changed and everything was written anew: the fingerprint no longer follows from them."""
    row = group_row("q", ["a", "b"])
    inputs = {"model": "a" * 32, "prompts": "b" * 32}
    forged = write_table(tmp_path / "forged", "groups", [row], options={"samples": 3}, inputs=inputs)
    assert any("not that of the options and inputs" in problem for problem in verified(Path(forged)).problems)
    row["completion_token_ids"] = [[7, 7, 2], [6, 7, 2]]
    edited = write_table(tmp_path / "edited", "groups", [row], options={"samples": 3}, inputs=inputs)
    assert any(
        f"group {row['group_id']} is not the hash of its row" in text for text in verified(Path(edited)).problems
    )


def test_inputs_elsewhere_are_said_to_be_missing_until_their_folder_is_named(chain: Path, tmp_path: Path) -> None:
    shutil.copytree(chain / "model", tmp_path / "alone" / "runs" / "model")
    place = tmp_path / "alone" / "runs" / "model"
    summary = tiny.grao_json("verify", place)
    assert (summary["missing"], len(summary["chain"]), summary["problems"]) == (3, 4, [])
    assert "--look-in" in summary["notes"][0]
    incomplete = tiny.grao("verify", place, "--complete")
    assert (incomplete.exit_code, "3 inputs of the chain were not found" in incomplete.stderr) == (1, True)
    assert tiny.grao_json("verify", place, "--look-in", chain)["missing"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing is not a local directory"),
        (["{empty}"], "holds no table, trained model or evaluation of ours"),
        (["{empty}", "--look-in", "nothing"], "--look-in names a folder"),
    ],
)
def test_what_cannot_be_verified_is_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    result = tiny.grao("verify", *(word.format(empty=tmp_path / "empty") for word in words))
    assert (result.exit_code, message in result.stderr) == (1, True), result.stderr


def test_a_record_in_the_place_of_an_evaluation_is_named(tmp_path: Path) -> None:
    export = Provenance("export", "e" * 32, {}, {"groups": "g" * 32})
    write_record(Directory(tmp_path / "metrics"), "metrics.json", asdict(export))
    message = f"{tmp_path}/metrics/metrics.json is a record of kind 'export', not of an evaluation"
    verified = tiny.grao("verify", tmp_path)
    assert (verified.exit_code, message in verified.stderr) == (1, True), verified.stderr
    _, problems = outputs_below(tmp_path)
    assert [problem.startswith(message) for problem in problems] == [True]
