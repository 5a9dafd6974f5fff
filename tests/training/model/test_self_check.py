"""Before the first step, a model whose shared path does not say what the model itself says is found out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, LlamaModel

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.training.data.packing import pack
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.model.self_check import check_policy
from tests import tiny
from tests.training import families, oracle
from tests.training.families import FAMILIES, twin
from tests.training.steps import advantage_row, sequence

PROMPT = [5, 6, 7, 8, 9]
SEQUENCES = [sequence(PROMPT, [10, 11, 12]), sequence(PROMPT, [13, 14, 15, 16, 17, 18]), sequence(PROMPT, [19])]


class IgnoresPositions(LlamaModel):  # type: ignore[misc]
    """Counts positions by itself, as if the packed row were one sequence."""

    def forward(self, *args: Any, position_ids: Any = None, **options: Any) -> Any:
        return super().forward(*args, **options)


class BendsLogits(LlamaForCausalLM):  # type: ignore[misc]
    """Changes its logits by more than a factor and a cap."""

    def forward(self, *args: Any, **options: Any) -> Any:
        output = super().forward(*args, **options)
        output.logits = output.logits + torch.arange(families.VOCABULARY) * output.logits.sign() / 10
        return output


def ignores_positions() -> Any:
    model = families.make_model("llama")
    model.model.__class__ = IgnoresPositions
    return model


def bends_logits() -> Any:
    model = families.make_model("llama")
    model.__class__ = BendsLogits
    return model


def check(policy: Policy, forced: bool = False) -> list[str]:
    """What is told."""
    progress = RecordedProgress()
    check_policy(policy, SEQUENCES, progress, forced)
    return progress.notes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["split", "rows"])
def test_an_honest_model_keeps_its_attention_without_a_word(family: str, attention: str) -> None:
    policy = Policy(families.make_model(family), attention)
    assert check(policy, forced=True) == []
    assert policy.attention == attention


@pytest.mark.parametrize("training", [True, False])
def test_the_check_leaves_the_model_as_it_was(training: bool) -> None:
    model = families.make_model("qwen2")
    policy = Policy(twin(model), "split")
    policy.train(training)
    check(policy)
    assert policy.training is training
    assert not any(module.training for module in policy.model.modules())  # dropout is off even in training
    assert all(parameter.grad is None for parameter in policy.parameters())
    before = dict(model.named_parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in policy.model.named_parameters())
    expected = [oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids) for each in SEQUENCES]
    torch.testing.assert_close(policy.logprobs(pack(SEQUENCES)), torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_a_model_that_ignores_positions_is_trained_on_plain_rows_with_a_notice() -> None:
    model = ignores_positions()
    policy = Policy(twin(model), "split")
    [notice] = check(policy)
    assert notice.startswith(
        "LlamaForCausalLM cannot share prompts (its log-probs differ from the model's own by up to"
    )
    assert policy.attention == "rows"
    expected = [oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids) for each in SEQUENCES]
    torch.testing.assert_close(policy.logprobs(pack(SEQUENCES)), torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_a_chosen_attention_that_does_not_work_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="attention: split does not work for LlamaForCausalLM: its log-probs differ"):
        check(Policy(ignores_positions(), "split"), forced=True)


def test_an_unknown_change_of_the_logits_is_an_error_whatever_the_attention() -> None:
    message = "BendsLogits cannot be trained here: its log-probs differ from the model's own by up to"
    for attention, forced in (("split", False), ("rows", False), ("rows", True)):
        with pytest.raises(InputError, match=message):
            check(Policy(bends_logits(), attention), forced)


def test_what_the_kernel_does_not_have_is_said() -> None:
    model = families.make_model("gemma2")
    policy = Policy(twin(model), "varlen")
    [notice] = check(policy)
    assert notice.startswith("Gemma2ForCausalLM cannot share prompts (the flash kernel has no soft-cap")
    assert policy.attention == "rows"
    with pytest.raises(UsageError, match="attention: varlen does not work for Gemma2ForCausalLM: the flash kernel"):
        check(Policy(twin(model), "varlen"), forced=True)


def test_a_model_that_looks_ahead_cannot_be_trained() -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = BertLMHeadModel(BertConfig(vocab_size=97, initializer_range=0.2, **sizes)).eval()
    for attention in ("split", "rows"):
        with pytest.raises(InputError, match="BertLMHeadModel cannot be trained here: its log-probs depend on later"):
            check(Policy(twin(model), attention))


def test_broken_weights_are_an_error() -> None:
    model = families.make_model("llama")
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    for attention in ("split", "rows"):
        with pytest.raises(InputError, match="The log-probs of LlamaForCausalLM are not finite"):
            check(Policy(twin(model), attention))


def test_a_model_that_takes_no_other_attention_is_trained_on_plain_rows() -> None:
    """transformers leaves GPT-J's attention as it is, and says so in a log alone."""
    from transformers import GPTJConfig, GPTJForCausalLM

    model = GPTJForCausalLM(
        GPTJConfig(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4, initializer_range=0.3)
    ).eval()
    policy = Policy(twin(model), "split")
    assert len(check(policy)) == 1
    expected = [oracle.sequence_logprobs(model, each.prompt_token_ids, each.token_ids) for each in SEQUENCES]
    torch.testing.assert_close(policy.logprobs(pack(SEQUENCES)), torch.cat(expected), rtol=1e-5, atol=1e-5)


# The command


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["auto", "split", "rows"])
def test_the_command_says_which_attention_it_trains_with(
    tmp_path: Path, groups: str, advantages: str, model: Path, attention: str
) -> None:
    out = tmp_path / "out"
    result = tiny.grao("train", groups, advantages, out, "--model", model, "--device", "cpu", "--attention", attention)
    assert result.exit_code == 0, result.output
    name = "split" if attention == "auto" else attention
    assert f"attention: {name}, checked against Qwen2ForCausalLM's own" in result.stderr


@pytest.mark.slow
def test_shared_prompts_and_plain_rows_end_in_the_same_weights(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """Six steps of AdamW; every tensor moves by ten times what is allowed here, or more."""
    options = ["--model", model, "--device", "cpu", "--learning-rate", "1e-4", "--groups-per-step", 4, "--epochs", 2]
    for name in ("split", "rows"):
        tiny.grao_json("train", groups, advantages, tmp_path / name, *options, "--attention", name)
    before, split, rows = (
        oracle.load_model(path).state_dict() for path in (model, tmp_path / "split", tmp_path / "rows")
    )
    # Softmax does not see the keys' biases: their gradient is rounding alone, which Adam blows up to the learning rate.
    for name in (name for name in rows if not name.endswith("k_proj.bias")):
        assert float((split[name] - rows[name]).norm() / rows[name].norm()) < 1e-5
        assert float((before[name] - rows[name]).norm() / rows[name].norm()) > 1e-4


@pytest.mark.parametrize("attention", ["flex", "varlen"])
def test_an_attention_of_another_device_is_refused_before_anything_is_read(
    tmp_path: Path, model: Path, attention: str
) -> None:
    arguments = [tmp_path / "no-groups", tmp_path / "no-advantages", tmp_path / "out", "--model", model]
    for dry_run in ([], ["--dry-run"]):
        result = tiny.grao("train", *arguments, *dry_run, "--device", "cpu", "--attention", attention)
        assert result.exit_code == 2, result.output
        assert f"--attention: {attention} runs on CUDA only, and this training is on cpu." in result.stderr


@pytest.mark.slow
def test_the_dropout_of_the_model_is_off_and_said(
    tmp_path: Path, groups: str, advantages: str, dropout_model: Path
) -> None:
    arguments = [groups, advantages, tmp_path / "out", "--model", dropout_model, "--allow-off-policy"]
    result = tiny.grao("train", *arguments, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "dropout of the model (attention_dropout 0.2) is off" in result.stderr
    assert "attention: split" in result.stderr


@pytest.mark.slow
def test_another_attention_is_not_another_training(tmp_path: Path, groups: str, advantages: str, model: Path) -> None:
    arguments = ["train", groups, advantages, tmp_path / "out", "--model", model, "--device", "cpu", "--attention"]
    assert not tiny.grao_json(*arguments, "split")["was_complete"]
    assert tiny.grao_json(*arguments, "rows")["was_complete"]


@pytest.mark.slow
def test_a_first_group_of_one_sequence_hides_nothing(tmp_path: Path) -> None:
    """One sequence alone is right in any packed row; the groups next to it would be read through one another."""
    from transformers import GPTJConfig, GPTJForCausalLM

    base = tmp_path / "base"
    tokenizer = tiny.make_tokenizer(base)
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4, "initializer_range": 0.3}
    GPTJForCausalLM(GPTJConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(str(base))
    groups = [tiny.group_row(f"prompt {number}", ["a"], reference=None) for number in range(3)]
    advantages = [dict(advantage_row(group, [1.0], [1.0], None)) for group in groups]
    urls = [
        tiny.write_table(tmp_path / "groups", "groups", groups),
        tiny.write_table(tmp_path / "advantages", "advantages", advantages),
    ]
    arguments = [*urls, tmp_path / "out", "--model", base, "--allow-off-policy", "--device", "cpu"]
    result = tiny.grao("train", *arguments)
    assert result.exit_code == 0, result.output
    assert "attention: rows" in result.stderr
