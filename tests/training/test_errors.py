"""Everything that can be wrong with a training ends in one clear message, and touches nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from grao_pipeline.errors import InputError, MismatchError, StageFailure
from grao_pipeline.progress import SILENT, Progress, RecordedProgress
from grao_pipeline.schemas import ADVANTAGES
from grao_pipeline.training.objectives.base import Objective, ObjectiveInputs, ObjectiveOutputs
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training import oracle


class Interrupted(Exception):
    """Stands for Ctrl-C at a moment that the test chooses."""


def train(groups: str, advantages: str, model: Path, out: Path, progress: Any = SILENT, **options: Any) -> None:
    train_model(groups, advantages, str(out), TrainOptions(model=str(model), device="cpu", **options), progress)


def interrupt_after(step: int) -> Progress:
    """Progress that ends the training when it hears of step `step` (before that step's checkpoint)."""

    def notice(message: str) -> None:
        if message.startswith(f"step {step}/"):
            raise Interrupted

    return RecordedProgress(notice)


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def assert_refused(*arguments: object, message: str, code: int = 1) -> None:
    """The command ends with this message and no traceback."""
    result = tiny.grao("train", *arguments, "--device", "cpu")
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert message in result.stderr
    assert result.stderr.count("Error:") == 1


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["train", "dry run"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective-arg", "explor=1"], "--objective-arg: objective 'grao' has no argument 'explor'."),
        (["--objective", "grpo", "--beta", "0.7"], "--beta: 0.7 has no effect on objective 'grpo'."),
        (["--logprobs", "big=t"], "--logprobs: objective 'grao' does not compare with 'big'."),
    ],
)
def test_a_wrong_objective_is_refused_before_the_model_is_looked_for(
    options: list[str], message: str, dry_run: tuple[str, ...]
) -> None:
    assert_refused("g", "a", "out", "--model", "no/such-model", *options, *dry_run, message=message, code=2)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("other") / "base", seed=1)


# Inputs that do not belong together


@pytest.mark.slow
def test_groups_of_other_weights_need_a_word_of_consent(
    tmp_path: Path, groups: str, advantages: str, other_model: Path
) -> None:
    out = tmp_path / "out"
    assert_refused(groups, advantages, out, "--model", other_model, message="pass --allow-off-policy")
    assert not out.exists()
    summary = tiny.grao_json("train", groups, advantages, out, "--model", other_model, "--allow-off-policy")
    assert summary["steps"] == 1


@pytest.mark.slow
def test_advantages_of_other_groups_are_refused(
    tmp_path: Path, groups: str, advantages: str, model: Path, prompts: str
) -> None:
    sampling = ["--engine", "transformers", "--samples", 2, "--max-new-tokens", 2]
    tiny.grao_json("generate", prompts, tmp_path / "other", "--model", model, *sampling)
    expected = "Compute the advantages of these groups first"
    assert_refused(tmp_path / "other", advantages, tmp_path / "out", "--model", model, message=expected)


def test_tables_of_the_wrong_kind_are_refused(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    out = tmp_path / "out"
    assert_refused(advantages, groups, out, "--model", model, message="this needs a table of kind 'groups'")
    assert_refused(groups, groups, out, "--model", model, message="this needs a table of kind 'advantages'")


@pytest.mark.slow
def test_groups_without_a_spread_of_rewards_leave_nothing_to_train_on(tmp_path: Path, groups: str, model: Path) -> None:
    tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "regex", "--reward-arg", "pattern=^no such text$")
    tiny.grao_json("advantages", groups, tmp_path / "advantages", "--scores", tmp_path / "scores")
    assert_refused(
        groups, tmp_path / "advantages", tmp_path / "out", "--model", model, message="Nothing to train on: no group"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_token_ids": [9, 320]}, "holds token id 320; the model's vocabulary has 320"),
        ({"prompt_token_ids": [7] * 253}, "has a sequence of 257 tokens; the model's positions end at 256"),
        ({"prompt_token_ids": []}, "has an empty prompt_token_ids"),
    ],
)
def test_groups_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, model: Path, change: dict[str, Any], message: str
) -> None:
    tables = handmade_tables(tmp_path, change)
    assert_refused(*tables, tmp_path / "out", "--model", model, "--allow-off-policy", message=message)
    assert not (tmp_path / "out").exists()


def handmade_tables(root: Path, change: dict[str, Any]) -> tuple[str, str]:
    """A group of one sample and a reference of four tokens, behind a prompt of three."""
    group = tiny.group_row("p", ["a"]) | change
    return (
        tiny.write_table(root / "groups", "groups", [group]),
        tiny.write_table(root / "advantages", "advantages", [advantages_row(group["group_id"], 1.0)]),
    )


def advantages_row(group_id: str, advantage: float) -> dict[str, Any]:
    return {
        "group_id": group_id,
        "rewards": [1.0],
        "advantages": [advantage],
        "reference_advantage": 1.0,
        "reward_mean": 0.0,
        "reward_std": 1.0,
        "token_weights": None,
    }


def test_an_infinite_advantage_of_other_software_is_refused(tmp_path: Path, model: Path) -> None:
    group = tiny.group_row("p", ["a"])
    table = pa.Table.from_pylist([advantages_row(group["group_id"], float("inf"))], schema=ADVANTAGES.arrow())
    (tmp_path / "advantages").mkdir()
    pq.write_table(table, tmp_path / "advantages" / "mine.parquet")
    groups = tiny.write_table(tmp_path / "groups", "groups", [group])
    arguments = [groups, tmp_path / "advantages", tmp_path / "out", "--model", model, "--allow-off-policy"]
    assert_refused(*arguments, message="column 'advantages' holds inf")


def test_weights_that_cannot_be_read_are_named(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    shutil.copytree(model, tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    options = ["--model", tmp_path / "base", "--allow-off-policy"]
    assert_refused(
        groups, advantages, tmp_path / "out", *options, message=f"{tmp_path}/base/model.safetensors is damaged"
    )


# Options


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--beta", -0.5, "--beta: input should be greater than or equal to 0, found -0.5."),
        ("--lambda", -1, "--lambda: input should be greater than or equal to 0, found -1.0."),
        ("--learning-rate", 0, "--learning-rate: input should be greater than 0, found 0.0."),
        ("--groups-per-step", 0, "--groups-per-step: input should be greater than or equal to 1, found 0."),
        ("--objective", "beauty", "--objective: unknown objective 'beauty'. Built in: asymre, bridged-pair, chord"),
    ],
)
def test_options_that_cannot_work_are_wrong_usage(
    tmp_path: Path, groups: str, advantages: str, model: Path, option: str, value: object, message: str
) -> None:
    arguments = [groups, advantages, tmp_path / "out", "--model", model, option, value]
    assert_refused(*arguments, message=message, code=2)
    assert not (tmp_path / "out").exists()


# OUT holds something else


def test_a_model_in_out_is_neither_overwritten_nor_mixed_with(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """Also one with metrics and a folder of checkpoints, as other trainers leave."""
    out = tmp_path / "out"
    shutil.copytree(model, out)
    (out / "metrics.jsonl").write_text('{"loss": 1.0}\n')
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "step-1").write_text("of another program")
    before = files(out)
    assert_refused(groups, advantages, out, "--model", model, message="already holds config.json")
    assert files(out) == before


def test_the_model_itself_is_no_place_for_the_result(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    shutil.copytree(model, tmp_path / "base")
    before = files(tmp_path / "base")
    assert_refused(groups, advantages, tmp_path / "base", "--model", tmp_path / "base", message="already holds")
    assert files(tmp_path / "base") == before


def test_a_table_in_out_is_refused(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    shutil.copytree(groups, tmp_path / "complete")
    assert_refused(
        groups, advantages, tmp_path / "complete", "--model", model, message="holds a table of kind 'groups'"
    )
    (tmp_path / "complete" / ".manifest.parquet").unlink()
    assert_refused(groups, advantages, tmp_path / "complete", "--model", model, message="already holds part-000000")


def test_a_file_as_out_is_refused(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    path = tmp_path / "out"
    path.write_text("mine")
    assert_refused(groups, advantages, path, "--model", model, message="is a file")
    assert_refused(groups, advantages, path / "below", "--model", model, message="Cannot write")
    assert path.read_text() == "mine"


@pytest.mark.slow
def test_a_finished_training_of_other_options_is_refused(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    out = tmp_path / "out"
    train(groups, advantages, model, out)
    before = files(out)
    assert_refused(groups, advantages, out, "--model", model, "--beta", 0.1, message="holds the model")
    assert files(out) == before


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_steps", [0, 1])
def test_an_unfinished_training_of_other_options_is_refused(
    tmp_path: Path, groups: str, advantages: str, model: Path, checkpoint_steps: int
) -> None:
    out = tmp_path / "out"
    options = {"groups_per_step": 4, "checkpoint_steps": checkpoint_steps}
    with pytest.raises(Interrupted):
        train(groups, advantages, model, out, interrupt_after(2), **options)
    assert bool(list(out.glob("checkpoints/step-*"))) == bool(checkpoint_steps)
    before = files(out)
    with pytest.raises(MismatchError, match="holds the unfinished model"):
        train(groups, advantages, model, out, **options, beta=0.1)
    with pytest.raises(MismatchError, match="holds the unfinished model"):
        train(groups, advantages, model, out, **options, tokens_per_batch=200)
    assert files(out) == before


@pytest.mark.slow
def test_how_often_checkpoints_are_written_is_not_another_training(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    with pytest.raises(Interrupted):
        train(groups, advantages, model, tmp_path / "out", interrupt_after(2), groups_per_step=4, checkpoint_steps=1)
    progress = RecordedProgress()
    train(groups, advantages, model, tmp_path / "out", progress, groups_per_step=4, checkpoint_steps=0)
    assert progress.notes[0].startswith("resuming after step 1 from ")


@pytest.mark.slow
def test_the_newest_checkpoints_stay_and_the_last_may_be_deleted_to_go_back(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    options: dict[str, Any] = {"groups_per_step": 2, "checkpoint_steps": 1, "keep_checkpoints": 2}
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    with pytest.raises(Interrupted):
        train(groups, advantages, model, out, interrupt_after(4), **options)
    kept = out / "checkpoints"
    assert sorted(path.name for path in kept.glob("*.pt")) == ["step-00000002.pt", "step-00000003.pt"]
    (kept / "step-00000003.pt").unlink()
    notes: list[str] = []
    train(groups, advantages, model, out, RecordedProgress(notes.append), **options)
    assert any("resuming after step 2 " in note for note in notes)
    assert not kept.exists()
    train(groups, advantages, model, undisturbed, **options)
    assert (out / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:50_000] + bytes([data[50_000] ^ 64]) + data[50_001:],
    ],
    ids=["cut", "empty", "one bit"],
)
def test_a_damaged_checkpoint_is_named_and_without_it_the_training_starts_anew(
    tmp_path: Path, groups: str, advantages: str, model: Path, damage: Callable[[bytes], bytes]
) -> None:
    options = {"groups_per_step": 4, "checkpoint_steps": 1}
    train(groups, advantages, model, tmp_path / "whole", **options)
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(groups, advantages, model, out, interrupt_after(3), **options)
    [checkpoint] = out.glob("checkpoints/step-*.pt")
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(InputError, match=r"checkpoints/step-00000002\.pt is damaged: .* Delete .* to start again"):
        train(groups, advantages, model, out, **options)
    checkpoint.unlink()
    train(groups, advantages, model, out, **options)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["manifest.json", "checkpoints/training.json"])
def test_a_damaged_mark_of_a_training_is_named(
    tmp_path: Path, groups: str, advantages: str, model: Path, name: str
) -> None:
    for text in ("", "[]", "{}"):
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        assert_refused(groups, advantages, tmp_path / "out", "--model", model, message=str(path))


# Training that diverges


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """The first step, of a huge learning rate, ruins the weights; the second says so, in the log too, and saves
    nothing.
    """
    out = tmp_path / "out"
    options = ["--model", model, "--groups-per-step", 4, "--checkpoint-steps", 1, "--learning-rate", "1e30"]
    options += ["--max-skipped-steps", 1]
    assert_refused(groups, advantages, out, *options, message="stopped without an update of the weights")
    [checkpoint] = out.glob("checkpoints/step-*.pt")
    assert checkpoint.name == "step-00000001.pt"
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert not (out / "model.safetensors").exists()


class Unbounded(Objective):
    """An objective whose loss is not a number."""

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        return ObjectiveOutputs(torch.log(-inputs.mean_logprobs().exp()).sum(), {})


@pytest.mark.slow
def test_the_failure_names_the_step_and_the_groups(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    objective = f"{__name__}:Unbounded"
    with pytest.raises(StageFailure, match=r"Step 1: .* Groups: [0-9a-f]{32}") as error:
        train(groups, advantages, model, tmp_path / "out", objective=objective)
    named = {row["group_id"] for row in oracle.table_rows(groups) if row["group_id"] in str(error.value)}
    assert len(named) == 4


@pytest.mark.slow
def test_a_model_whose_weights_are_no_numbers_is_refused(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    with pytest.raises(InputError, match="The log-probs of Qwen2ForCausalLM are not finite"):
        train(groups, advantages, model_with_a_nan(tmp_path, model), tmp_path / "out", allow_off_policy=True)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def model_with_a_nan(root: Path, model: Path) -> Path:
    from transformers import AutoTokenizer

    broken = oracle.load_model(model)
    with torch.no_grad():
        next(iter(broken.parameters()))[0, 0] = float("nan")
    broken.save_pretrained(str(root / "nan"))
    AutoTokenizer.from_pretrained(str(model)).save_pretrained(str(root / "nan"))
    return root / "nan"
