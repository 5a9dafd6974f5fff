"""`grpo`, `dr-grpo` and `dpo` are TRL's losses, computed by TRL's own trainers on real models."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
from grao_pipeline.training.data.sequences import TrainingSequence
from grao_pipeline.training.logprobs.compute import compute_logprobs
from grao_pipeline.training.logprobs.options import LogprobsOptions
from grao_pipeline.training.micro_batch import run_micro_batch
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.objectives.base import Objective
from grao_pipeline.training.objectives.dpo import Dpo
from grao_pipeline.training.objectives.dr_grpo import DrGrpo
from grao_pipeline.training.objectives.grpo import Grpo
from grao_pipeline.training.objectives.make import construct
from grao_pipeline.training.objectives.pairwise import Pairwise
from grao_pipeline.training.options import TrainOptions
from tests import tiny
from tests.tiers import examples
from tests.training import families, oracle
from tests.training.families import VOCABULARY, twin
from tests.training.oracle import backward
from tests.training.steps import scored_group, sequence, take_gradient

pytestmark = pytest.mark.filterwarnings("ignore:TRL currently supports vLLM")  # none is used here

MAX_LENGTH = 50
GRPO_ARGUMENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "asymmetric clip": {"clip_low": 0.1, "clip_high": 0.4},
    "KL to the behavior policy": {"kl": 0.3},
    "KL without the ratio": {"kl": 0.3, "unbiased_kl": False},
    "sequence ratio": {"ratio": "sequence", "clip_low": 0.03, "clip_high": 0.04},
    "sequence ratio and KL": {"ratio": "sequence", "kl": 0.05},
}

Group = list[TrainingSequence]


@pytest.fixture(scope="module")
def model() -> Any:
    return families.make_model("llama", seed=1)


@pytest.fixture(scope="module")
def behavior_model() -> Any:
    """The policy that sampled: another than the one that is trained."""
    return families.make_model("llama", seed=2)


@pytest.fixture(scope="module")
def policy(model: Any) -> Policy:
    return Policy(twin(model), "split")


@pytest.fixture(scope="module")
def trl_grpo(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Callable[..., Any]:
    """A GRPOTrainer whose loss has these arguments of ours."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    root = tmp_path_factory.mktemp("grpo")
    config = GRPOConfig(
        output_dir=str(root / "out"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=MAX_LENGTH,
        report_to=[],
    )
    trainer = GRPOTrainer(
        model=twin(model),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "none"}] * 2),
        processing_class=tiny.make_tokenizer(root / "tokenizer"),
    )
    trainer.current_gradient_accumulation_steps = 1  # what `train()` would set

    def with_arguments(loss_type: str, arguments: dict[str, Any]) -> Any:
        trainer.loss_type = loss_type
        trainer.importance_sampling_level = arguments.get("ratio", "token")
        trainer.epsilon_low = arguments.get("clip_low", 0.2)
        trainer.epsilon_high = arguments.get("clip_high", 0.2)
        trainer.beta = arguments.get("kl", 0.0)
        trainer.args.use_bias_correction_kl = arguments.get("unbiased_kl", True)
        return trainer

    return with_arguments


@pytest.fixture(scope="module")
def trl_dpo(tmp_path_factory: pytest.TempPathFactory, model: Any, behavior_model: Any) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    root = tmp_path_factory.mktemp("dpo")
    config = DPOConfig(
        output_dir=str(root / "out"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=2,
        report_to=[],
    )
    pair = {"prompt": "What is two plus three?", "chosen": " five", "rejected": " six"}
    return DPOTrainer(
        model=twin(model),
        ref_model=twin(behavior_model),
        args=config,
        train_dataset=Dataset.from_list([pair] * 2),
        processing_class=tiny.make_tokenizer(root / "tokenizer"),
    )


def rows_of_trl(sequences: Sequence[TrainingSequence]) -> dict[str, Tensor]:
    """What GRPOTrainer prepares: prompts padded on the left, completions on the right, log-probs of the old policy."""

    def padded(values: Sequence[Sequence[float]], side: str) -> Tensor:
        rows = [torch.tensor(value) for value in values]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side=side)

    prompts = [each.prompt_token_ids for each in sequences]
    completions = [each.token_ids for each in sequences]
    behavior = padded([each.behavior_logprobs or [] for each in sequences], "right")
    return {
        "prompt_ids": padded(prompts, "left"),
        "prompt_mask": padded([[1] * len(ids) for ids in prompts], "left"),
        "completion_ids": padded(completions, "right"),
        "completion_mask": padded([[1] * len(ids) for ids in completions], "right"),
        "advantages": torch.tensor([each.advantage for each in sequences]),
        "old_per_token_logps": behavior,
        "ref_per_token_logps": behavior,
        "num_items_in_batch": torch.tensor(sum(map(len, completions))),
    }


def library_loss(
    policy: Policy, objective: Objective, sequences: Sequence[TrainingSequence], num_groups: int
) -> tuple[float, list[Tensor]]:
    """The loss and its gradient."""
    micro_batch = run_micro_batch(policy, objective, sequences)
    backward(micro_batch.surrogate / num_groups)
    return float(micro_batch.outputs.loss) / num_groups, take_gradient(policy.model)


def assert_same_gradient(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """To 1e-5 of its largest element; where it is 0 (equal samples, all tokens clipped), to rounding."""
    largest = max(float(each.abs().max()) for each in expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-5 * largest + 1e-6)


@st.composite
def group_sets(draw: st.DrawFn) -> list[Group]:
    """Groups of equal size (TRL knows no others) with ragged prompts and samples, log-probs left open."""
    ids = st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=9)
    size = draw(st.integers(2, 4))
    groups = []
    for number in range(draw(st.integers(1, 3))):
        prompt = draw(ids)
        shared: dict[str, Any] = {"group_size": size, "group_id": f"group {number}"}
        rewards = draw(st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.0]), min_size=size, max_size=size, unique=True))
        advantages = st.sampled_from([1.5, -1.0, 0.5, -2.0, 0.0])
        groups.append([sequence(prompt, draw(ids), advantage=draw(advantages), reward=r, **shared) for r in rewards])
    return groups


def with_behavior(groups: Sequence[Group], model: Any, noise: float, seed: int) -> list[Group]:
    """The same, as if sampled by a policy whose log-probs differ from the model's by up to `noise` nats."""
    generator = torch.Generator().manual_seed(seed)

    def sampled(each: TrainingSequence) -> TrainingSequence:
        with torch.no_grad():
            logprobs = oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids)
        moved = logprobs + noise * (2 * torch.rand(len(logprobs), generator=generator) - 1)
        return replace(each, behavior_logprobs=moved.tolist())

    return [[sampled(each) for each in group] for group in groups]


@pytest.mark.parametrize("arguments", GRPO_ARGUMENTS.values(), ids=GRPO_ARGUMENTS)
@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
@settings(max_examples=examples(10))
@given(groups=group_sets(), seed=st.integers(0, 9))
def test_loss_and_gradient_of_grpo_are_trls(
    trl_grpo: Callable[..., Any],
    model: Any,
    policy: Policy,
    name: str,
    arguments: dict[str, Any],
    groups: list[Group],
    seed: int,
) -> None:
    """Ratios are between e^−0.5 and e^0.5, so that some tokens are clipped and some are not."""
    flat = [each for group in with_behavior(groups, model, 0.5, seed) for each in group]
    objective: Objective = Grpo(Grpo.Arguments(**arguments))
    if name == "dr_grpo":
        objective = DrGrpo(DrGrpo.Arguments(**arguments, max_completion_length=MAX_LENGTH))
    loss, gradient = library_loss(policy, objective, flat, len(groups))
    trainer = trl_grpo(name, arguments)
    expected = trainer._compute_loss(trainer.model, rows_of_trl(flat))
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-5)
    backward(expected)
    assert_same_gradient(gradient, take_gradient(trainer.model))


def test_weights_of_tokens_are_trls_advantages_per_token(
    trl_grpo: Callable[..., Any], model: Any, policy: Policy
) -> None:
    weights = [[2.0, 0.0, -1.0], [0.5, 1.0, 1.0, 3.0]]
    shared: dict[str, Any] = {"group_size": 2, "group_id": "one"}
    group = [
        sequence([5, 6], [7, 8, 9], advantage=1.0, token_weights=weights[0], **shared),
        sequence([5, 6], [10, 11, 12, 13], advantage=-0.5, token_weights=weights[1], **shared),
    ]
    (sequences,) = with_behavior([group], model, 0.4, seed=0)
    loss, gradient = library_loss(policy, Grpo(), sequences, 1)
    rows = rows_of_trl(sequences)
    rows["advantages"] = torch.tensor([[2.0, 0.0, -1.0, 0.0], [-0.25, -0.5, -0.5, -1.5]])
    trainer = trl_grpo("grpo", {})
    expected = trainer._compute_loss(trainer.model, rows)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-5)
    backward(expected)
    assert_same_gradient(gradient, take_gradient(trainer.model))


def assert_is_loss_of_trl(
    trl_dpo: Any, groups: list[Group], beta: float, loss: float, gradient: list[Tensor], kind: str = "sigmoid"
) -> None:
    """A loss and its gradient are those of TRL's DPO trainer on the best sample of every group and the worst."""
    trl_dpo.beta, trl_dpo.loss_types = beta, [kind]
    best, worst = ([choose(group, key=lambda one: one.reward or 0.0) for group in groups] for choose in (max, min))
    expected = trl_dpo._compute_loss(trl_dpo.model, rows_of_dpo([*best, *worst]), return_outputs=False)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-5)
    backward(expected)
    assert_same_gradient(gradient, take_gradient(trl_dpo.model))


@pytest.mark.slow
@settings(max_examples=examples(15))
@given(groups=group_sets(), dpo_beta=st.sampled_from([0.1, 0.03, 1.0]))
def test_loss_and_gradient_of_dpo_are_trls_on_best_against_worst(
    trl_dpo: Any, behavior_model: Any, policy: Policy, groups: list[Group], dpo_beta: float
) -> None:
    groups = with_behavior(groups, behavior_model, 0.0, seed=0)
    objective = Dpo(Dpo.Arguments(dpo_beta=dpo_beta))
    loss, gradient = library_loss(policy, objective, [each for group in groups for each in group], len(groups))
    assert_is_loss_of_trl(trl_dpo, groups, dpo_beta, loss, gradient)


@pytest.mark.parametrize("link", ["dpo", "ipo", "hinge"])
@settings(max_examples=examples(5))
@given(groups=group_sets())
def test_pair_losses_against_a_stored_reference_model_are_trls(
    trl_dpo: Any, behavior_model: Any, policy: Policy, link: str, groups: list[Group]
) -> None:
    """The reference model's log-probs as `--logprobs ref=…` gives them; no policy sampled here."""
    groups = with_behavior(groups, behavior_model, 0.0, seed=0)
    groups = [
        [replace(each, behavior_logprobs=None, logprobs={"ref": each.behavior_logprobs or []}) for each in group]
        for group in groups
    ]
    objective = Pairwise(Pairwise.Arguments.model_validate({"link": link, "against": "ref", "pair_beta": 0.2}))
    loss, gradient = library_loss(policy, objective, [each for group in groups for each in group], len(groups))
    assert_is_loss_of_trl(trl_dpo, groups, 0.2, loss, gradient, {"dpo": "sigmoid"}.get(link, link))


@pytest.mark.slow
def test_dpo_against_a_table_of_grao_logprobs_is_trls_with_that_model(
    trl_dpo: Any, behavior_model: Any, policy: Policy, tmp_path: Path
) -> None:
    """From the stored groups: `grao logprobs` of the reference model, then the loss, as `--logprobs ref=…` has it."""
    twin(behavior_model).save_pretrained(tmp_path / "reference")
    rows = [
        scored_group("one", [4, 7], [[5, 6], [7, 8, 9], [10]], [9, 2], [0.0, 1.0, 0.5], 0.5),
        scored_group("two", [8], [[11, 12, 13], [14, 15]], [3], [1.0, 0.25], 0.5),
    ]
    groups = tiny.write_table(tmp_path / "groups", "groups", [dict(group) for group, _ in rows])
    advantages = tiny.write_table(tmp_path / "advantages", "advantages", [dict(scored) for _, scored in rows])
    compute_logprobs(groups, str(tmp_path / "ref"), LogprobsOptions(model=str(tmp_path / "reference"), device="cpu"))
    tables = (open_table(groups), open_table(advantages))
    data = TrainingSet(*tables, logprobs=[("ref", open_table(str(tmp_path / "ref"), "logprobs"))])
    samples = [[one for one in data[index].sequences if not one.is_reference] for index in range(2)]
    objective = Pairwise(Pairwise.Arguments.model_validate({"against": "ref", "pair_beta": 0.3}))
    loss, gradient = library_loss(policy, objective, [one for group in samples for one in group], 2)
    assert_is_loss_of_trl(trl_dpo, samples, 0.3, loss, gradient)


@pytest.mark.parametrize("name", ["cispo", "sapo", "gspo"])
@settings(max_examples=examples(5))
@given(groups=group_sets(), seed=st.integers(0, 9))
def test_newer_losses_are_trls(
    trl_grpo: Callable[..., Any], model: Any, policy: Policy, name: str, groups: list[Group], seed: int
) -> None:
    """TRL averages CISPO over the tokens of the batch, so there each group is compared by itself."""
    groups = with_behavior(groups, model, 0.5, seed)
    together = [each for group in groups for each in group]
    for batch in groups if name == "cispo" else [together]:
        count = 1 if name == "cispo" else len(groups)
        flat = [replace(each, group_tokens=sum(len(one.token_ids) for one in batch)) for each in batch]
        arguments: dict[str, dict[str, Any]] = {
            "cispo": {"cap": 1.2},
            "sapo": {},
            "gspo": {"clip_low": 0.01, "clip_high": 0.02},
        }
        objective = construct(
            TrainOptions(model="m", objective=name, objective_arg=[f"{k}={v}" for k, v in arguments[name].items()])
        )
        loss, gradient = library_loss(policy, objective, flat, count)
        theirs: dict[str, Any] = {"clip_high": 1.2} if name == "cispo" else arguments[name]
        ratio = {"ratio": "sequence"} if name == "gspo" else {}
        trainer = trl_grpo({"gspo": "grpo"}.get(name, name), theirs | ratio)
        expected = trainer._compute_loss(trainer.model, rows_of_trl(flat))
        assert loss == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-5)
        backward(expected)
        assert_same_gradient(gradient, take_gradient(trainer.model))


def rows_of_dpo(sequences: Sequence[TrainingSequence]) -> dict[str, Tensor]:
    """What DPOTrainer's collator makes: prompt and completion in a row, padded on the right; the chosen first."""

    def padded(values: Sequence[Sequence[int]]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(value) for value in values], batch_first=True)

    return {
        "input_ids": padded([[*each.prompt_token_ids, *each.token_ids] for each in sequences]),
        "attention_mask": padded([[1] * each.num_tokens for each in sequences]),
        "completion_mask": padded([[0] * len(e.prompt_token_ids) + [1] * len(e.token_ids) for e in sequences]),
    }
