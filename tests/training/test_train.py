"""`train_model` end to end on groups that the tiny model sampled, against a training written by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from grao_pipeline.training.data.groups import epoch_order
from grao_pipeline.training.objectives.base import FakeObjective, ObjectiveInputs, ObjectiveOutputs, Traits
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.schedule import learning_rate
from grao_pipeline.training.train import train_model
from tests import tiny
from tests.training import oracle
from tests.training.oracle import backward
from tests.training.ranks import metrics

Rows = tuple[list[oracle.Row], list[oracle.Row]]

LEARNING_RATE = 1e-4
FAKE = "grao_pipeline.training.objectives.base:FakeObjective"
METRICS = {
    "step",
    "epoch",
    "learning_rate",
    "J",
    "exploration",
    "imitation",
    "regularizer",
    "exploration_share",
    "imitation_share",
    "regularizer_share",
    "mean_logprob_samples",
    "mean_logprob_references",
    "reward",
    "entropy",
    "kl_behavior",
    "kl_behavior_k1",
    "outside_band",
    "effective_sample_size",
    "grad_norm",
    "groups",
    "tokens",
    "seconds",
    "tokens_per_second",
    "origins",
}


@pytest.fixture(scope="module")
def rows(groups: str, advantages: str) -> Rows:
    """The groups and their advantages; all ten groups have a spread of rewards."""
    made: Rows = [*oracle.table_rows(groups)], [*oracle.table_rows(advantages)]
    assert all(row["advantages"][0] is not None for row in made[1])
    return made


def train(groups: str, advantages: str, model: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    """Train; the metrics of every step."""
    train_model(groups, advantages, str(out), TrainOptions(model=str(model), device="cpu", **options))
    return metrics(out)


def train_by_hand(
    model: Path, rows: Rows, order: list[list[int]], **options: Any
) -> tuple[Any, list[dict[str, float]]]:
    """The same training with the naive objective and torch's plain AdamW."""
    made = TrainOptions(model=str(model), **options)
    trained = oracle.load_model(model)
    optimizer = torch.optim.AdamW(
        trained.parameters(), betas=(made.adam_beta1, made.adam_beta2), weight_decay=made.weight_decay, foreach=False
    )
    records = []
    for step, indices in enumerate(order):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(order), made.learning_rate, made.warmup_steps, made.schedule)
        terms = oracle.step_terms(
            trained, [rows[0][i] for i in indices], [rows[1][i] for i in indices], made.beta, made.lambda_
        )
        optimizer.zero_grad()
        backward(-terms.total)
        norm = torch.stack([(p.grad**2).sum() for p in trained.parameters()]).sum().sqrt()
        if made.max_grad_norm and norm > made.max_grad_norm:
            for parameter in trained.parameters():
                parameter.grad *= made.max_grad_norm / norm
        optimizer.step()
        records.append({"J": terms.total.item(), "grad_norm": norm.item()})
    return trained, records


def weights(model: Any) -> dict[str, Tensor]:
    loaded = oracle.load_model(model) if isinstance(model, Path) else model
    return {name: value.detach() for name, value in loaded.named_parameters()}


def assert_trained_alike(a: Any, b: Any) -> None:
    """The same training, but for rounding.

    Adam divides by the gradient's size: where a gradient is nothing but rounding noise (here less than one weight in a
    thousand), the update is noise too, of at most the learning rate. That of the keys' biases is noise alone: they move
    all scores of a query by the same, which softmax does not see.
    """
    of_a, of_b = weights(a), weights(b)
    assert of_a.keys() == of_b.keys()
    differences = {name: (of_a[name] - of_b[name]).abs().flatten() for name in of_a}
    assert max(float(each.max()) for name, each in differences.items() if not name.endswith("k_proj.bias")) < 2e-6
    everywhere = torch.cat(list(differences.values()))
    assert float(everywhere.max()) < LEARNING_RATE
    assert float(everywhere.quantile(0.999)) < 1e-7


@pytest.mark.slow
def test_steps_are_those_of_the_naive_loss_with_torchs_adamw(
    tmp_path: Path, groups: str, advantages: str, model: Path, rows: Rows
) -> None:
    options: dict[str, Any] = {
        "groups_per_step": 4,
        "learning_rate": LEARNING_RATE,
        "warmup_steps": 1,
        "schedule": "linear",
    }
    records = train(groups, advantages, model, tmp_path / "out", **options, epochs=2, tokens_per_batch=300, seed=3)
    order = [epoch_order(10, 3, epoch)[start : start + 4] for epoch in range(2) for start in (0, 4, 8)]
    by_hand, expected = train_by_hand(model, rows, order, **options)
    assert_trained_alike(tmp_path / "out", by_hand)
    for name in ("J", "grad_norm"):
        assert [record[name] for record in records] == pytest.approx([e[name] for e in expected], rel=1e-5)
    # Six steps, one of warm-up: half the peak, the peak, then a fifth less each time.
    assert [r["learning_rate"] for r in records] == pytest.approx([5e-5, 1e-4, 8e-5, 6e-5, 4e-5, 2e-5])


@pytest.mark.slow
def test_clipping_scales_the_whole_gradient_to_the_norm(
    tmp_path: Path, groups: str, advantages: str, model: Path, rows: Rows
) -> None:
    # AdamW's first step does not see the gradient's size, unless it is far below its epsilon of 1e-8. A norm of 1e-8
    # is: the update is then learning_rate · gradient / 1e-8, of norm 0.1.
    options: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.0, "max_grad_norm": 1e-8, "max_steps": 1}
    [record] = train(groups, advantages, model, tmp_path / "out", **options)
    by_hand, [expected] = train_by_hand(model, rows, [list(range(10))], **options)
    assert record["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
    assert record["grad_norm"] > 1.0
    before, after, oracles = weights(model), weights(tmp_path / "out"), weights(by_hand)
    update = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert float(update.norm()) == pytest.approx(0.1, rel=0.02)
    for name in before:
        torch.testing.assert_close(after[name], oracles[name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_zero_switches_clipping_off(tmp_path: Path, groups: str, advantages: str, model: Path, rows: Rows) -> None:
    options: dict[str, Any] = {"learning_rate": LEARNING_RATE, "max_grad_norm": 0.0, "groups_per_step": 5}
    train(groups, advantages, model, tmp_path / "out", **options)
    order = epoch_order(10, 0, 0)
    by_hand, _ = train_by_hand(model, rows, [order[:5], order[5:]], **options)
    assert_trained_alike(tmp_path / "out", by_hand)


@pytest.mark.slow
def test_micro_batches_change_nothing_but_rounding(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    options: dict[str, Any] = {"groups_per_step": 5, "learning_rate": LEARNING_RATE}
    sizes = [1, 250, 10**6]  # a sequence at a time; cuts within groups; a step at once
    records = [train(groups, advantages, model, tmp_path / str(n), **options, tokens_per_batch=n) for n in sizes]
    for name in ("J", "exploration", "imitation", "regularizer", "grad_norm", "mean_logprob_samples", "tokens"):
        of_size = [[step[name] for step in of_run] for of_run in records]
        assert of_size[1] == pytest.approx(of_size[0], rel=1e-4, abs=1e-5), name
        assert of_size[2] == pytest.approx(of_size[0], rel=1e-4, abs=1e-5), name
    assert_trained_alike(tmp_path / "1", tmp_path / "250")
    assert_trained_alike(tmp_path / "1", tmp_path / "1000000")


@pytest.mark.slow
def test_every_step_writes_a_line_with_the_documented_keys(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    records = train(groups, advantages, model, tmp_path / "out", groups_per_step=4, epochs=2)
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["epoch"] for record in records] == [0, 0, 0, 1, 1, 1]
    assert [record["groups"] for record in records] == [4, 4, 2, 4, 4, 2]
    for record in records:
        assert record.keys() == METRICS
        assert record["J"] == pytest.approx(sum(record[n] for n in ("exploration", "imitation", "regularizer")))
        assert sum(record[f"{n}_share"] for n in ("exploration", "imitation", "regularizer")) == pytest.approx(1.0)


@pytest.mark.slow
def test_groups_come_in_the_order_of_the_epoch(
    tmp_path: Path, groups: str, advantages: str, model: Path, rows: Rows
) -> None:
    """A group's tokens tell which one a step was: prompt and continuation of each sample and of the reference."""
    lengths = []
    for group, row in zip(*rows, strict=True):
        made = [*group["completion_token_ids"], *([group["reference_token_ids"]] if group["reference"] else [])]
        assert row["reference_advantage"] is not None or group["reference"] is None
        lengths.append(sum(len(group["prompt_token_ids"]) + len(ids) for ids in made))
    records = train(groups, advantages, model, tmp_path / "out", groups_per_step=1, epochs=2, seed=7)
    expected = [lengths[index] for epoch in range(2) for index in epoch_order(10, 7, epoch)]
    assert [record["tokens"] for record in records] == expected
    summary = json.loads((tmp_path / "out" / "manifest.json").read_text())["summary"]
    assert summary["tokens"] == 2 * sum(lengths)


@pytest.mark.slow
def test_max_steps_ends_the_same_training_earlier(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    whole = train(groups, advantages, model, tmp_path / "whole", groups_per_step=4, epochs=2)
    short = train(groups, advantages, model, tmp_path / "short", groups_per_step=4, epochs=2, max_steps=4)
    assert [record["J"] for record in short] == [record["J"] for record in whole[:4]]


@pytest.mark.slow
def test_fresh_groups_are_on_policy_at_the_first_step(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    [first] = train(groups, advantages, model, tmp_path / "out")
    # The sampler computed its log-probs with a KV cache in float32: equal but for rounding, of which k3 is the square.
    assert 0 <= first["kl_behavior"] < 1e-10
    assert first["outside_band"] == 0.0
    assert first["effective_sample_size"] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.slow
def test_diagnostics_of_a_changed_model_equal_numpy(
    tmp_path: Path, groups: str, advantages: str, model: Path, rows: Rows
) -> None:
    train(groups, advantages, model, tmp_path / "changed", learning_rate=1e-3, groups_per_step=5)
    [record] = train(groups, advantages, tmp_path / "changed", tmp_path / "out", allow_off_policy=True, max_steps=1)
    changed = oracle.load_model(tmp_path / "changed", "float64")
    ratios = []
    with torch.no_grad():
        for group in rows[0]:
            for ids, behavior in zip(group["completion_token_ids"], group["completion_logprobs"], strict=True):
                logprobs = oracle.sequence_logprobs(changed, group["prompt_token_ids"], ids).numpy()
                ratios.append(logprobs - np.array(behavior))
    flat = np.concatenate(ratios)
    per_sample = np.exp([values.mean() for values in ratios])
    outside = (np.exp(flat) < 0.8) | (np.exp(flat) > 1.2)
    assert 0.05 < outside.mean() < 0.95  # the model did change
    assert record["kl_behavior"] == pytest.approx(float((np.exp(flat) - 1 - flat).mean()), rel=1e-4)
    assert record["outside_band"] == pytest.approx(float(outside.mean()), abs=1.01 / len(flat))
    size = per_sample.sum() ** 2 / (len(per_sample) * (per_sample**2).sum())
    assert record["effective_sample_size"] == pytest.approx(float(size), rel=1e-4)


@pytest.mark.slow
def test_entropy_is_estimated_from_the_sampled_tokens_alone(
    tmp_path: Path, groups: str, advantages: str, model: Path, rows: Rows
) -> None:
    """Samples at temperature 1. By another policy's log-probs too, each token counts with its ratio."""
    [fresh] = train(groups, advantages, model, tmp_path / "fresh", max_steps=1)
    train(groups, advantages, model, tmp_path / "changed", learning_rate=1e-3, groups_per_step=5)
    [stale] = train(groups, advantages, tmp_path / "changed", tmp_path / "out", allow_off_policy=True, max_steps=1)
    for path, record in ((model, fresh), (tmp_path / "changed", stale)):
        exact = oracle.load_model(path, "float64")
        estimates: list[float] = []
        entropies: list[float] = []
        for group in rows[0]:
            prompt = group["prompt_token_ids"]
            for ids, stored in zip(group["completion_token_ids"], group["completion_logprobs"], strict=True):
                with torch.no_grad():
                    logits = exact(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
                logs = torch.log_softmax(logits, dim=-1)
                found = logs[torch.arange(len(ids)), torch.tensor(ids)].numpy()
                estimates += (-np.exp(found - np.array(stored)) * found).tolist()
                entropies += (-(logs.exp() * logs).sum(dim=-1)).tolist()
        assert record["entropy"] == pytest.approx(np.mean(estimates), rel=1e-5)
        noise = np.std(np.array(estimates) - np.array(entropies)) / len(estimates) ** 0.5
        assert abs(np.mean(estimates) - np.mean(entropies)) < 4 * noise
        assert noise < 0.1 * np.mean(entropies)


@pytest.mark.slow
def test_bfloat16_trains_float32_weights_to_nearly_the_same(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    options: dict[str, Any] = {"groups_per_step": 5, "learning_rate": LEARNING_RATE}
    [exact, _] = train(groups, advantages, model, tmp_path / "float32", **options)
    [rounded, _] = train(groups, advantages, model, tmp_path / "bfloat16", **options, dtype="bfloat16")
    # bfloat16 has 8 bits: half a percent a rounding.
    assert rounded["J"] == pytest.approx(exact["J"], rel=0.02)
    assert rounded["J"] != exact["J"]
    assert rounded["grad_norm"] == pytest.approx(exact["grad_norm"], rel=0.02)
    before, a, b = weights(model), weights(tmp_path / "float32"), weights(tmp_path / "bfloat16")
    of_a, of_b = (torch.cat([(of[name] - before[name]).flatten() for name in before]) for of in (a, b))
    assert float(torch.cosine_similarity(of_a, of_b, dim=0)) > 0.95


@pytest.mark.slow
def test_recomputing_activations_changes_no_gradient(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    """Also with an adapter's dropout: the backward pass draws the numbers of the forward pass again."""
    options: dict[str, Any] = {"groups_per_step": 5, "learning_rate": LEARNING_RATE, "lora_rank": 4}
    train(groups, advantages, model, tmp_path / "kept", **options, lora_dropout=0.2)
    train(groups, advantages, model, tmp_path / "recomputed", **options, lora_dropout=0.2, gradient_checkpointing=True)
    assert_trained_alike(tmp_path / "kept", tmp_path / "recomputed")


@pytest.mark.slow
def test_an_adapters_dropout_is_drawn_from_the_seed(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    """One step holds all groups, in any order; the second step sees what the first one trained."""
    options: dict[str, Any] = {"epochs": 2, "lora_rank": 4, "lora_dropout": 0.5, "learning_rate": 0.1}
    js = [
        train(groups, advantages, model, tmp_path / str(n), **options, seed=seed)[-1]["J"]
        for n, seed in enumerate([0, 0, 1])
    ]
    assert js[0] == js[1]
    assert abs(js[0] - js[2]) > 1e-3


@pytest.mark.slow
def test_the_dropout_of_the_model_changes_nothing(
    tmp_path: Path, groups: str, advantages: str, model: Path, dropout_model: Path
) -> None:
    """The groups are on-policy: the first step's ratios are 1. Recomputed layers are in training mode."""
    options: dict[str, Any] = {"max_steps": 1, "allow_off_policy": True}
    [plain] = train(groups, advantages, model, tmp_path / "plain", **options)
    for recompute in (False, True):
        out = tmp_path / str(recompute)
        [record] = train(groups, advantages, dropout_model, out, **options, gradient_checkpointing=recompute)
        assert record["kl_behavior"] < 1e-8
        assert record["J"] == pytest.approx(plain["J"], abs=1e-6)


@pytest.mark.slow
def test_another_objective_is_trained_by_its_path(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    """The public fake raises the likelihood of everything, good or bad."""
    records = train(groups, advantages, model, tmp_path / "out", objective=FAKE, learning_rate=1e-3, epochs=8)
    assert records[-1]["mean_logprob_samples"] > records[0]["mean_logprob_samples"] + 0.5
    assert records[-1]["likelihood"] > records[0]["likelihood"]
    assert "exploration" not in records[0]


class WholeGroups(FakeObjective):
    """Refuses a part of a group."""

    traits = Traits(is_linear=True, couples_group=True)

    def __call__(self, inputs: ObjectiveInputs) -> ObjectiveOutputs:
        samples = ~inputs.is_reference
        assert int(samples.sum()) == int(inputs.group_size[0])
        assert bool(inputs.is_reference.any()) == bool(inputs.group_has_reference[0])
        return super().__call__(inputs)


@pytest.mark.slow
def test_an_objective_that_couples_a_group_gets_it_whole(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """Even where a micro-batch holds one token: then every group is its own."""
    path = f"{__name__}:WholeGroups"
    [record] = train(groups, advantages, model, tmp_path / "out", objective=path, tokens_per_batch=1)
    [expected] = train(groups, advantages, model, tmp_path / "whole", objective=FAKE)
    assert record["J"] == pytest.approx(expected["J"], rel=1e-5)


@pytest.mark.slow
def test_a_model_learns_what_is_rewarded(tmp_path: Path, model: Path) -> None:
    """Eight fixed groups: two samples of four are right, and so is the reference."""
    random = np.random.default_rng(0)
    groups: list[dict[str, Any]] = []
    advantages: list[dict[str, Any]] = []
    for number in range(8):
        ids = [[*random.integers(3, 300, 4).tolist(), 2] for _ in range(5)]
        group = tiny.group_row(f"prompt {number}", ["a", "b", "c", "d"], token_ids=ids[:4])
        group |= {"reference_token_ids": ids[4], "prompt_token_ids": [1, 10 + number, 40 + number]}
        rewards = [1.0, 1.0, 0.0, 0.0]
        samples, reference = oracle.group_advantages(rewards, 1.0, "samples_and_reference")
        groups.append(group)
        advantages.append(
            {"group_id": group["group_id"], "rewards": rewards, "advantages": samples, "reference_advantage": reference}
        )
    tables = [
        tiny.write_table(tmp_path / name, name, made) for name, made in (("groups", groups), ("advantages", advantages))
    ]
    options: dict[str, Any] = {"learning_rate": 1e-3, "epochs": 30, "allow_off_policy": True}
    records = train(tables[0], tables[1], model, tmp_path / "out", **options)
    assert len(records) == 30
    assert records[-1]["J"] > records[0]["J"] + 1.0
    before, after = oracle.load_model(model), oracle.load_model(tmp_path / "out")
    with torch.no_grad():
        for group in groups:
            changes = [
                float(oracle.likelihood(after, group["prompt_token_ids"], ids))
                - float(oracle.likelihood(before, group["prompt_token_ids"], ids))
                for ids in (*group["completion_token_ids"], group["reference_token_ids"])
            ]
            right, wrong, reference_change = changes[:2], changes[2:4], changes[4]
            assert min(*right, reference_change) > 0.5
            assert max(wrong) < -0.5


@pytest.mark.slow
def test_groups_of_old_rounds_are_left_out_and_counted(tmp_path: Path, groups: str, model: Path) -> None:
    """Rounds 0, 1 and 3 of two groups each: at most two behind the newest leaves four groups."""
    rows = [{**row, "round": (0, 1, 3)[index // 2]} for index, row in enumerate(oracle.table_rows(groups)[:6])]
    advantages = [
        {"group_id": row["group_id"], "rewards": [1.0] + [0.0] * 3, "advantages": [1.5] + [-0.5] * 3}
        | {"reference_advantage": None, "reward_mean": 0.25, "reward_std": 0.4, "token_weights": None}
        for row in rows
    ]
    url = tiny.write_table(tmp_path / "groups", "groups", rows)
    advantages_url = tiny.write_table(tmp_path / "advantages", "advantages", advantages)
    arguments = ("train", url, advantages_url)
    found = tiny.grao_json(*arguments, tmp_path / "out", "--model", model, "--max-rounds-behind", 2)
    assert (found["groups"], found["groups_trained"], found["groups_too_old"]) == (6, 4, 2)
    assert tiny.grao_json(*arguments, tmp_path / "all", "--model", model)["groups_trained"] == 6
    few = ("--max-steps", 1, "--groups-per-step", 2, "--learning-rate", 0.5)
    summary = tiny.grao_json(*arguments, tmp_path / "few", "--model", model, *few)
    assert (summary["groups"], summary["groups_trained"]) == (6, 2)
    assert [note.partition(" ")[2][:24] for note in summary["notes"]] == [
        "optimizer step (2 groups",
        "0.5 is high for training",
        "reference is trained on:",
    ]
