"""`grao logprobs` against transformers' own forward pass, and trainings that compare with another model."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.logprobs.compute import compute_logprobs
from grao_pipeline.training.logprobs.options import LogprobsOptions
from grao_pipeline.training.objectives.make import make_objective
from grao_pipeline.training.options import TrainOptions
from tests import tiny
from tests.training import oracle
from tests.training.ranks import metrics
from tests.training.steps import scored_group


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The tiny model with other weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tmp_path_factory.mktemp("other") / "model"
    moved = oracle.load_model(model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    moved.save_pretrained(path)
    AutoTokenizer.from_pretrained(model).save_pretrained(path)
    assert AutoModelForCausalLM is not None
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, groups: str, other_model: Path) -> tuple[str, dict[str, Any]]:
    out = str(tmp_path_factory.mktemp("logprobs") / "out")
    summary = tiny.grao_json("logprobs", groups, out, "--model", other_model, "--device", "cpu")
    return out, summary


def test_log_probs_are_those_of_a_forward_pass_and_each_prompt_costs_once(
    table: tuple[str, dict[str, Any]], groups: str, other_model: Path
) -> None:
    out, summary = table
    reference = oracle.load_model(other_model)
    shared = unshared = 0
    rows = open_table(groups).arrow().to_pylist()
    for row, computed in zip(rows, open_table(out, "logprobs").arrow().to_pylist(), strict=True):
        assert computed["group_id"] == row["group_id"]
        sequences = [*row["completion_token_ids"], row["reference_token_ids"] or []]
        values = [*computed["sample_logprobs"], computed["reference_logprobs"]]
        for ids, logprobs in zip(sequences, values, strict=True):
            if not ids:
                assert not logprobs
                continue
            with torch.no_grad():
                expected = oracle.sequence_logprobs(reference, row["prompt_token_ids"], ids)
            torch.testing.assert_close(torch.tensor(logprobs), expected, rtol=0, atol=1e-5)
        lengths = [len(ids) for ids in sequences if ids]
        shared += len(row["prompt_token_ids"]) + sum(lengths)
        unshared += len(row["prompt_token_ids"]) * len(lengths) + sum(lengths)
    assert (summary["tokens"], summary["unshared_tokens"]) == (shared, unshared)
    num_references = sum(row["reference_token_ids"] is not None for row in rows)
    assert (summary["groups"], summary["references"]) == (len(rows), num_references)
    inspected = tiny.grao_json("inspect", out)
    assert (inspected["kind"], inspected["counts"]["rows"]) == ("logprobs", len(rows))


def test_a_finished_table_is_found_and_another_model_is_refused(
    table: tuple[str, dict[str, Any]], groups: str, other_model: Path, model: Path
) -> None:
    out, summary = table
    again = tiny.grao_json("logprobs", groups, out, "--model", other_model, "--device", "cpu")
    assert (again["parts_made"], again["fingerprint"]) == (0, summary["fingerprint"])
    other = tiny.grao("logprobs", groups, out, "--model", model, "--device", "cpu")
    assert other.exit_code == 1
    assert "input model was" in other.stderr


@pytest.mark.slow
def test_a_training_compares_with_the_other_model(
    table: tuple[str, dict[str, Any]], tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """k3 of the first step, at the model that sampled, averaged over samples and groups as the tables have it."""
    out, _ = table
    options = ["--model", model, "--device", "cpu", "--groups-per-step", 64, "--objective", "grpo"]
    arguments = ["--objective-arg", "kl=1", "--objective-arg", "kl_against=start", "--objective-arg", "unbiased_kl=no"]
    tiny.grao_json("train", groups, advantages, tmp_path / "m", *options, *arguments, "--logprobs", f"start={out}")
    terms = []
    tables = (groups, advantages, out)
    for row, scored, computed in zip(*(open_table(url).arrow().to_pylist() for url in tables), strict=True):
        trained = [i for i, value in enumerate(scored["advantages"]) if value is not None]
        penalties = []
        for i in trained:
            now, other = (torch.tensor(of[i]) for of in (row["completion_logprobs"], computed["sample_logprobs"]))
            penalties.append(float((torch.exp(other - now) - 1 - (other - now)).mean()))
        if trained:
            terms.append(sum(penalties) / len(penalties))
    (record,) = metrics(tmp_path / "m")
    assert record["kl_penalty"] == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert record["kl_penalty"] > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kl=1", "kl_against=start"], "compares with 'start': give --logprobs start=TABLE .*Given: none"),
        (["kl_against=a", "--logprobs"], "compares with 'a'.*Given: b"),
        (["kl=1", "--logprobs"], "objective 'grpo' does not compare with 'b'"),
    ],
)
def test_names_without_a_table_and_tables_without_use_are_refused(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    logprobs = ["b=somewhere"] if "--logprobs" in arguments else []
    given = [argument for argument in arguments if argument != "--logprobs"]
    options = TrainOptions(model="m", objective="grpo", objective_arg=given, logprobs=logprobs)
    with pytest.raises(UsageError, match=message):
        make_objective(options, data_of(tmp_path))


def data_of(root: Path, **details: str) -> TrainingSet:
    """One group with a reference; the details of its advantages' provenance."""
    from grao_pipeline.schemas import TABLES
    from grao_pipeline.storage.writer import TableWriter

    group, advantages = scored_group("one", [1, 7], [[5, 6], [7, 8, 9]], [9, 2], [0.0, 1.0], 0.5)
    groups = tiny.write_table(root / "groups", "groups", [dict(group)])
    provenance = Provenance("advantages", "a" * 32, {}, {}, details=dict(details))
    writer = TableWriter(str(root / "advantages"), provenance, 1)
    writer.write(0, pa.Table.from_pylist([dict(advantages)], schema=TABLES["advantages"].arrow()))
    writer.finish()
    return TrainingSet(open_table(groups), open_table(str(root / "advantages")))


def test_a_regularizer_is_refused_where_tokens_have_advantages(tmp_path: Path) -> None:
    """λ weighs the reference by the mean of Â_s, which is then the mean of max_t |Â_{s,t}|."""
    data = data_of(tmp_path, token_advantages="gigpo")
    with pytest.raises(UsageError, match=r"lambda_: 0\.6 does not go together with --token-weights gigpo"):
        make_objective(TrainOptions(model="m"), data)
    make_objective(TrainOptions(model="m", lambda_=0.0), data)
    make_objective(TrainOptions(model="m", objective="grpo"), data)


def test_a_table_of_other_groups_is_refused(tmp_path: Path, table: tuple[str, dict[str, Any]]) -> None:
    data = data_of(tmp_path)
    assert len(data) == 1
    groups, advantages = (open_table(str(tmp_path / name)) for name in ("groups", "advantages"))
    with pytest.raises(MismatchError, match=r"No --logprobs ref=TABLE was computed from .*groups\. Run: grao logprobs"):
        TrainingSet(groups, advantages, logprobs=[("ref", open_table(table[0], "logprobs"))])


def test_the_reference_has_a_reward_and_the_metric_counts_samples_alone(tmp_path: Path) -> None:
    from grao_pipeline.training.metrics import StepMetrics
    from grao_pipeline.training.micro_batch import objective_inputs
    from grao_pipeline.training.objectives.base import FakeObjective

    group, advantages = scored_group("one", [1, 7], [[5, 6], [7, 8, 9]], [9, 2], [0.0, 1.0], 0.5)
    groups = tiny.write_table(tmp_path / "groups", "groups", [dict(group)])
    rows = [{**advantages, "reference_reward": 7.0}]
    url = tiny.write_table(tmp_path / "advantages", "advantages", rows)
    (sequences,) = [one.sequences for one in [TrainingSet(open_table(groups), open_table(url))[0]]]
    assert [sequence.reward for sequence in sequences] == [0.0, 1.0, 7.0]
    assert {sequence.group_tokens for sequence in sequences} == {5}
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    inputs = objective_inputs(sequences, mask, torch.zeros(3, 3))
    step = StepMetrics(1)
    step.add(sequences, inputs, FakeObjective()(inputs))
    assert step.report()["reward"] == 0.5


@pytest.mark.slow
def test_the_likeliest_tokens_are_those_of_a_forward_pass(tmp_path: Path, groups: str, other_model: Path) -> None:
    out = str(tmp_path / "out")
    tiny.grao_json("logprobs", groups, out, "--model", other_model, "--device", "cpu", "--top-k", 4)
    reference = oracle.load_model(other_model)
    row, computed = (open_table(url).arrow().to_pylist()[0] for url in (groups, out))
    sequences = [*row["completion_token_ids"], row["reference_token_ids"]]
    ids = [*computed["sample_top_ids"], computed["reference_top_ids"]]
    logprobs = [*computed["sample_top_logprobs"], computed["reference_top_logprobs"]]
    for tokens, of_ids, of_logprobs in zip(sequences, ids, logprobs, strict=True):
        with torch.no_grad():
            whole = oracle.whole_logprobs(reference, row["prompt_token_ids"], tokens)
        expected = whole.topk(4, dim=-1).values
        torch.testing.assert_close(torch.tensor(of_logprobs), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(whole.gather(-1, torch.tensor(of_ids)), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_training_lowers_the_divergence_from_the_teacher(
    tmp_path: Path, groups: str, advantages: str, model: Path, other_model: Path
) -> None:
    teacher = str(tmp_path / "teacher")
    tiny.grao_json("logprobs", groups, teacher, "--model", other_model, "--device", "cpu", "--top-k", 8)
    options = ["--model", model, "--device", "cpu", "--groups-per-step", 64, "--epochs", 4, "--learning-rate", 1e-2]
    gkd = ["--objective", "gkd", "--objective-arg", "teacher=big", "--logprobs", f"big={teacher}"]
    tiny.grao_json("train", groups, advantages, tmp_path / "m", *options, *gkd)
    divergences = [record["teacher_divergence"] for record in metrics(tmp_path / "m")]
    assert divergences == sorted(divergences, reverse=True)
    assert divergences[-1] < 0.7 * divergences[0]


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "found"), [((0, 0), "0"), ((4, 0), "0 and 4"), ((4, 3), "3 and 4")])
def test_tables_without_the_same_number_of_likeliest_tokens_are_refused(
    tmp_path: Path, other_model: Path, counts: tuple[int, int], found: str
) -> None:
    """Before a model is loaded; the second table is that of replayed groups."""
    pairs, tables = [], []
    for name, count in zip("ab", counts, strict=True):
        group, scored = scored_group(name, [1, 7], [[5, 6], [7, 8, 9]], [9, 2], [0.0, 1.0], 0.5)
        groups = tiny.write_table(tmp_path / f"{name}-groups", "groups", [dict(group)])
        advantages = tiny.write_table(tmp_path / f"{name}-advantages", "advantages", [dict(scored)])
        teacher = str(tmp_path / f"{name}-teacher")
        compute_logprobs(groups, teacher, LogprobsOptions(model=str(other_model), device="cpu", top_k=count))
        pairs.append((open_table(groups), open_table(advantages)))
        tables.append(("big", open_table(teacher, "logprobs")))
    data = TrainingSet(*pairs[0], replay=pairs[1:], logprobs=tables)
    options = TrainOptions(model="m", objective="gkd", objective_arg=["teacher=big"], logprobs=["big=TABLE"])
    with pytest.raises(InputError, match=f"its tables have {found} of them. Compute each with the same grao logprobs"):
        make_objective(options, data)
