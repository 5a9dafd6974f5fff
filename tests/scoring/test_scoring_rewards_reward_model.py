"""A reward model's scores are those of transformers, row by row."""

import json
from pathlib import Path

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

from grao_pipeline.config import ScoreOptions
from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from grao_pipeline.scoring.score import make_reward
from tests import tiny

CANDIDATES = [
    Candidate([{"role": "user", "content": "Say " + "hello " * repeats}], text, None, {})
    for repeats, text in [(1, "Hello!"), (30, "no"), (2, ""), (5, "Hello world! " * 6), (1, "What is two plus three?")]
]


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_reward_model(tmp_path_factory.mktemp("reward") / "model")


def scores(model: Path, candidates: list[Candidate], batch_size: int = 32) -> list[Judgement]:
    options = ScoreOptions(reward="reward-model", reward_arg=[f"model={model}"], batch_size=batch_size, device="cpu")
    return list(make_reward(options).score(candidates))


@torch.inference_mode()
def logits_one_by_one(model: Path, candidates: list[Candidate], template: str | None = None) -> list[float]:
    """The model as transformers loads it, given one conversation at a time."""
    network = AutoModelForSequenceClassification.from_pretrained(str(model), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    found = []
    for candidate in candidates:
        messages = [*candidate.messages, {"role": "assistant", "content": candidate.completion}]
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        found.append(float(network(ids).logits[0, 0]))
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_scores_are_the_models_logits_whatever_the_batch(reward_model: Path, batch_size: int) -> None:
    found = scores(reward_model, CANDIDATES, batch_size)
    expected = logits_one_by_one(reward_model, CANDIDATES)
    assert [judgement.reward for judgement in found] == pytest.approx(expected, abs=1e-5)
    assert {judgement.status for judgement in found} == {"ok"}
    assert max(expected) - min(expected) > 0.1  # the model does tell them apart


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
    found = [judgement.reward for judgement in scores(path, CANDIDATES, batch_size)]
    assert found == pytest.approx(logits_one_by_one(path, CANDIDATES), abs=1e-5)


def test_rows_that_use_up_the_vocabulary_are_still_scored_as_alone(tmp_path: Path) -> None:
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
    found = [judgement.reward for judgement in scores(tmp_path, candidates)]
    assert found == pytest.approx(logits_one_by_one(tmp_path, candidates), abs=1e-5)


def test_a_base_models_classifier_reads_the_plain_template(tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model")
    tiny.make_tokenizer(path, chat_template=None)
    (path / "chat_template.jinja").unlink()
    template = (
        "{% for m in messages %}{{ 'Human' if m['role'] == 'user' else 'Assistant' }}: {{ m['content'] }}"
        "{{ '<|im_end|>' if m['role'] == 'assistant' }}{{ '\n\n' }}{% endfor %}"
    )
    found = [judgement.reward for judgement in scores(path, CANDIDATES)]
    assert found == pytest.approx(logits_one_by_one(path, CANDIDATES, template), abs=1e-5)


def test_what_is_longer_than_the_model_reads_is_not_cut(reward_model: Path) -> None:
    """Digits are a token each: as many as fit behind what the template makes of an empty completion, and one more."""
    tokenizer = AutoTokenizer.from_pretrained(str(reward_model))
    messages = [{"role": "user", "content": "q"}]
    bare = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": ""}], tokenize=False)
    room = 256 - len(tokenizer.encode(bare, add_special_tokens=False))
    found = scores(reward_model, [Candidate(messages, "7" * length, None, {}) for length in (room, room + 1, 2)])
    assert [judgement.status for judgement in found] == ["ok", "truncated", "ok"]
    assert found[1] == Judgement(None, "truncated", "257 tokens; the reward model reads 256")


def test_a_conversation_that_the_template_refuses_is_an_error_of_its_row(tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model")
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (path / "chat_template.jinja").write_text(refusal + tiny.CHAT_TEMPLATE)
    system = Candidate([{"role": "system", "content": "s"}, *CANDIDATES[0].messages], "a", None, {})
    found = scores(path, [CANDIDATES[0], system])
    assert [judgement.status for judgement in found] == ["ok", "error"]
    assert "no system" in str(found[1].detail)


@pytest.mark.parametrize("num_labels", [2, 5])
def test_a_classifier_of_several_classes_is_no_reward_model(num_labels: int, tmp_path: Path) -> None:
    path = tiny.make_reward_model(tmp_path / "model", num_labels=num_labels)
    with pytest.raises(InputError, match=f"has {num_labels} outputs; a reward model has one"):
        scores(path, CANDIDATES)


def test_a_language_model_is_no_reward_model(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 outputs; a reward model has one"):
        scores(model, CANDIDATES)
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    one_label = {"num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (tmp_path / "config.json").write_text(json.dumps({**config, **one_label}))
    with pytest.raises(InputError, match=f"{tmp_path} lacks weights that .*: score.weight"):
        scores(tmp_path, CANDIDATES)


def test_a_reward_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"Model '{tmp_path}/none': there is no such directory"):
        scores(tmp_path / "none", CANDIDATES)
    with pytest.raises(UsageError, match="Reward 'reward-model' needs --reward-arg model=…"):
        make_reward(ScoreOptions(reward="reward-model"))


def test_another_reward_model_gives_other_scores_and_another_fingerprint(
    reward_model: Path, groups: str, tmp_path: Path
) -> None:
    other = tiny.make_reward_model(tmp_path / "other", seed=1)
    command = ("score", groups, tmp_path / "out", "--reward", "reward-model")
    first = tiny.grao_json(*command, "--reward-arg", f"model={reward_model}")
    assert (first["samples"], first["references_scored"], first["references_failed"]) == (40, 9, 0)
    found = tiny.grao(*command, "--reward-arg", f"model={other}")
    assert found.exit_code == 1
    assert "model was " in found.stderr
