"""A reward model's scores are those of transformers, row by row."""

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from grao_pipeline.errors import InputError, StageFailure, UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from tests import tiny

CANDIDATES = [
    Candidate([{"role": "user", "content": "Say " + "hello " * repeats}], text, None, {})
    for repeats, text in [(1, "Hello!"), (30, "no"), (2, ""), (5, "Hello world! " * 6), (1, "What is two plus three?")]
]


MESSAGES = [{"role": "user", "content": "q"}]
OUTPUTS = ("helpfulness", "correctness", "verbosity")


@pytest.fixture(scope="module")
def several_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_reward_model(tmp_path_factory.mktemp("several") / "model", names=OUTPUTS)


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_reward_model(tmp_path_factory.mktemp("reward") / "model")


def scores(model: Path, candidates: list[Candidate], batch_size: int = 32, *arguments: str) -> list[Judgement]:
    options = ScoreOptions(
        reward="reward-model", reward_arg=[f"model={model}", *arguments], batch_size=batch_size, device="cpu"
    )
    return list(make_reward(options).score(candidates))


@torch.inference_mode()
def all_logits_one_by_one(model: Path, candidates: list[Candidate], template: str | None = None) -> torch.Tensor:
    """The model as transformers loads it, given one conversation at a time; [candidates, outputs]."""
    network = AutoModelForSequenceClassification.from_pretrained(str(model), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    logits = []
    for candidate in candidates:
        messages = [*candidate.messages, {"role": "assistant", "content": candidate.completion}]
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        logits.append(network(ids).logits[0])
    return torch.stack(logits)


def logits_one_by_one(model: Path, candidates: list[Candidate], template: str | None = None) -> list[float]:
    """Of a model with one output."""
    return [float(logit) for (logit,) in all_logits_one_by_one(model, candidates, template)]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_scores_are_the_models_logits_whatever_the_batch(reward_model: Path, batch_size: int) -> None:
    judgements = scores(reward_model, CANDIDATES, batch_size)
    expected = logits_one_by_one(reward_model, CANDIDATES)
    assert [judgement.reward for judgement in judgements] == pytest.approx(expected, abs=1e-5)
    assert {judgement.status for judgement in judgements} == {"ok"}
    assert max(expected) - min(expected) > 0.1  # the model does tell them apart


@pytest.mark.slow
def test_ragged_rows_keep_their_order_in_every_batch_size(reward_model: Path) -> None:
    """Lengths from 11 to 250 tokens in no order: alone, a few, or nearly all together."""
    drawn = random.Random(0)
    candidates = [Candidate(MESSAGES, "7" * drawn.randint(0, 200), None, {}) for _ in range(100)]
    expected = logits_one_by_one(reward_model, candidates)
    for batch_size in (2, 8, 256):
        values = [judgement.reward for judgement in scores(reward_model, candidates, batch_size)]
        assert values == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen3"])
def test_other_decoders_are_scored_as_transformers_does(family: str, tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model", family=family)
    values = [judgement.reward for judgement in scores(path, CANDIDATES)]
    assert values == pytest.approx(logits_one_by_one(path, CANDIDATES), abs=1e-5)


def test_one_of_several_outputs_is_the_reward(several_outputs: Path) -> None:
    expected = all_logits_one_by_one(several_outputs, CANDIDATES)
    for index, name in enumerate(OUTPUTS):
        judgements = scores(several_outputs, CANDIDATES, 32, f"output={name}")
        assert [judgement.reward for judgement in judgements] == pytest.approx(expected[:, index].tolist(), abs=1e-5)
        for judgement, logits in zip(judgements, expected.tolist(), strict=True):
            detail = json.loads(str(judgement.detail))
            assert list(detail) == list(OUTPUTS)
            assert list(detail.values()) == pytest.approx(logits, abs=1e-5)


def test_a_weighted_sum_of_outputs_is_a_reward(several_outputs: Path) -> None:
    helpful, correct, verbose = all_logits_one_by_one(several_outputs, CANDIDATES).T.tolist()
    judgements = scores(several_outputs, CANDIDATES, 32, "output=helpfulness:0.65,correctness,verbosity:-0.2")
    expected = [0.65 * h + c - 0.2 * v for h, c, v in zip(helpful, correct, verbose, strict=True)]
    assert [judgement.reward for judgement in judgements] == pytest.approx(expected, abs=1e-5)


def test_bfloat16_changes_the_scores_and_the_fingerprint(reward_model: Path) -> None:
    """bfloat16 has eight bits of mantissa: the logits agree to some per cent, and not to 1e-5."""
    exact = logits_one_by_one(reward_model, CANDIDATES)
    values = [judgement.reward for judgement in scores(reward_model, CANDIDATES, 32, "dtype=bfloat16")]
    assert values == pytest.approx(exact, abs=0.1)
    assert values != pytest.approx(exact, abs=1e-5)
    identities = [
        make_reward(ScoreOptions(reward="reward-model", reward_arg=[f"model={reward_model}", *arguments])).identity()
        for arguments in ([], ["dtype=bfloat16"], ["engine=vllm"], ["engine=vllm", "vllm.quantization=fp8"])
    ]
    assert all(a != b for a, b in itertools.combinations(identities, 2))


def test_speed_and_memory_do_not_change_the_fingerprint(reward_model: Path) -> None:
    arguments = [f"model={reward_model}", "engine=vllm"]
    first = make_reward(ScoreOptions(reward="reward-model", reward_arg=arguments)).identity()
    lowered = [*arguments, "vllm.gpu_memory_utilization=0.5", "vllm.max_num_seqs=8"]
    assert make_reward(ScoreOptions(reward="reward-model", reward_arg=lowered, batch_size=1)).identity() == first


def test_a_batch_that_does_not_fit_into_memory_is_halved(reward_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for 300 tokens at once; the longest of the candidates has fewer."""
    limit_memory(monkeypatch, 300)
    values = [judgement.reward for judgement in scores(reward_model, CANDIDATES)]
    monkeypatch.undo()
    assert values == pytest.approx(logits_one_by_one(reward_model, CANDIDATES), abs=1e-5)


def test_a_sequence_that_does_not_fit_into_memory_fails_the_stage(
    reward_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, 20)
    with pytest.raises(
        StageFailure, match=r"A sequence of \d+ tokens does not fit into the GPU's memory .*max_length=…"
    ):
        scores(reward_model, CANDIDATES)


def limit_memory(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Let the real model fail as a full GPU would, where it is given more tokens than this."""
    forward = Qwen2ForSequenceClassification.forward

    def limited(self: Any, input_ids: torch.Tensor, **arguments: Any) -> Any:
        if input_ids.numel() > tokens:
            raise torch.OutOfMemoryError
        return forward(self, input_ids, **arguments)

    monkeypatch.setattr(Qwen2ForSequenceClassification, "forward", limited)


@pytest.mark.parametrize("pad_token_id", [None, 0, 2])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_conversation_that_ends_in_eos_is_read_as_the_model_alone_would(
    pad_token_id: int | None, batch_size: int, tmp_path: Path
) -> None:
    """A head finds the last token by the padding token. Without one it takes the very last, EOS; where the model's
    padding token is EOS it takes the one before. Padding with the tokenizer's must not change either.
    """
    path = tiny.make_reward_model(tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "pad_token_id": pad_token_id}))
    tokenizer = AutoTokenizer.from_pretrained(str(path))
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    tokenizer.save_pretrained(str(path))
    values = [judgement.reward for judgement in scores(path, CANDIDATES, batch_size)]
    assert values == pytest.approx(logits_one_by_one(path, CANDIDATES), abs=1e-5)


def test_rows_that_use_the_whole_vocabulary_are_scored_as_alone(tmp_path: Path) -> None:
    """The model knows four tokens and has no padding token; no token is left to pad with."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "</s>": 3}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.chat_template = "{{ messages[-1]['content'] }} </s>"
    fast.save_pretrained(str(tmp_path))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "initializer_range": 0.5}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    config = Qwen2Config(vocab_size=4, num_labels=1, pad_token_id=None, **shape, **heads)
    Qwen2ForSequenceClassification(config).save_pretrained(str(tmp_path))
    candidates = [Candidate([], text, None, {}) for text in ("a b c", "a", "c c a b b", "b")]
    values = [judgement.reward for judgement in scores(tmp_path, candidates)]
    assert values == pytest.approx(logits_one_by_one(tmp_path, candidates), abs=1e-5)


def test_a_base_models_classifier_reads_the_plain_template(tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model")
    tiny.make_tokenizer(path, chat_template=None)
    (path / "chat_template.jinja").unlink()
    template = (
        "{% for m in messages %}{{ 'Human' if m['role'] == 'user' else 'Assistant' }}: {{ m['content'] }}"
        "{{ '<|im_end|>' if m['role'] == 'assistant' }}{{ '\n\n' }}{% endfor %}"
    )
    values = [judgement.reward for judgement in scores(path, CANDIDATES)]
    assert values == pytest.approx(logits_one_by_one(path, CANDIDATES, template), abs=1e-5)


def test_a_sequence_that_is_too_long_is_not_cut(reward_model: Path) -> None:
    """Digits are a token each: as many as fit after the template of an empty completion, and one more."""
    tokenizer = AutoTokenizer.from_pretrained(str(reward_model))
    bare = tokenizer.apply_chat_template([*MESSAGES, {"role": "assistant", "content": ""}], tokenize=False)
    room = 256 - len(tokenizer.encode(bare, add_special_tokens=False))
    judgements = scores(reward_model, [Candidate(MESSAGES, "7" * length, None, {}) for length in (room, room + 1, 2)])
    assert [judgement.status for judgement in judgements] == ["ok", "truncated", "ok"]
    assert judgements[1] == Judgement(None, "truncated", "257 tokens; the reward model reads 256")


def test_a_conversation_that_the_template_refuses_is_an_error(tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model")
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (path / "chat_template.jinja").write_text(refusal + tiny.CHAT_TEMPLATE)
    system = Candidate([{"role": "system", "content": "s"}, *CANDIDATES[0].messages], "a", None, {})
    judgements = scores(path, [CANDIDATES[0], system])
    assert [judgement.status for judgement in judgements] == ["ok", "error"]
    assert "no system" in str(judgements[1].detail)


def test_a_lower_limit_on_the_length_is_kept(reward_model: Path) -> None:
    judgements = scores(reward_model, CANDIDATES, 32, "max_length=40")
    assert {judgement.status for judgement in judgements} == {"ok", "truncated"}
    assert all("the reward model reads 40" in str(j.detail) for j in judgements if j.status == "truncated")


def test_a_model_with_several_outputs_needs_a_choice(tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model", num_labels=2)
    with pytest.raises(UsageError, match=r"has 2 outputs: LABEL_0, LABEL_1\. Say which is the reward with"):
        scores(path, CANDIDATES)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("engine=sglang", "engine=sglang: input should be 'transformers' or 'vllm' (reward 'reward-model')."),
        ("dtype=int8", "dtype=int8: input should be 'auto', 'float32' or 'bfloat16' (reward 'reward-model')."),
        ("max_length=0", "max_length=0: input should be greater than 0"),
        ("max_length=257", "reward_arg: max_length=257: the reward model reads 256 tokens."),
        ("max_length=many", "max_length=many: input should be a valid integer"),
        ("vllm.max_num_seqs=3", "vllm.max_num_seqs needs engine=vllm; the engine is transformers"),
        ("output=LABEL_1", "has no output 'LABEL_1'. It has: LABEL_0."),
        ("lenght=3", "reward 'reward-model' has no argument 'lenght'"),
    ],
)
def test_a_wrong_argument_is_named(argument: str, message: str, reward_model: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        make_reward(ScoreOptions(reward="reward-model", reward_arg=[f"model={reward_model}", argument]))


def test_a_language_model_is_no_reward_model(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a Qwen2ForCausalLM; a reward model is a sequence classifier"):
        scores(model, CANDIDATES)
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    claimed = {"architectures": ["Qwen2ForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (tmp_path / "config.json").write_text(json.dumps({**config, **claimed, "label2id": {"LABEL_0": 0}}))
    with pytest.raises(InputError, match=f"{tmp_path} lacks weights that .*: score.weight"):
        scores(tmp_path, CANDIDATES)


def test_a_missing_reward_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"Model '{tmp_path}/none': there is no such directory"):
        scores(tmp_path / "none", CANDIDATES)
    with pytest.raises(UsageError, match="reward 'reward-model' needs model=…"):
        make_reward(ScoreOptions(reward="reward-model"))


def test_another_reward_model_changes_the_fingerprint(reward_model: Path, groups: str, tmp_path: Path) -> None:
    other = tiny.make_reward_model(tmp_path / "other", seed=1)
    command = ("score", groups, tmp_path / "out", "--reward", "reward-model")
    first = tiny.grao_json(*command, "--reward-arg", f"model={reward_model}")
    assert (first["samples"], first["references_scored"], first["references_failed"]) == (40, 9, 0)
    result = tiny.grao(*command, "--reward-arg", f"model={other}")
    assert result.exit_code == 1
    assert "model was " in result.stderr
