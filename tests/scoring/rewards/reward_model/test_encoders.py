"""Encoders as reward models: special tokens around the plain text, bidirectional attention, their own positions."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import processors

from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from tests import tiny

POSITIONS = 128
CANDIDATES = [
    Candidate([{"role": "user", "content": "Say " + "hello " * repeats}], text, None, {})
    for repeats, text in [(1, "Hello!"), (12, "no"), (2, ""), (3, "Hello world! " * 3), (1, "What is two plus three?")]
]


def make_encoder(path: Path, family: str, eos_token: str | None = None) -> Path:
    """A random encoder classifier; its tokenizer puts `<|im_start|>` before and `<|im_end|>` after a text."""
    tokenizer = tiny.make_tokenizer(path, chat_template=None)
    first, last = "<|im_start|>", "<|im_end|>"
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (first, last)}
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=list(ids.items())
    )
    specials = {
        "cls_token": first,
        "sep_token": last,
        "eos_token": eos_token,
        "bos_token": first if eos_token else None,
    }
    tokenizer.add_special_tokens({name: token for name, token in specials.items() if token})
    if eos_token is None:
        tokenizer.eos_token = None
    tokenizer.save_pretrained(str(path))
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(str(path))
    return path


def judge(model: Path, candidates: list[Candidate], batch_size: int = 32, *arguments: str) -> list[Judgement]:
    options = ScoreOptions(
        reward="reward-model", reward_arg=[f"model={model}", *arguments], batch_size=batch_size, device="cpu"
    )
    return list(make_reward(options).score(candidates))


@torch.inference_mode()
def logits_of_texts(model: Path, texts: list[str], special_tokens: bool) -> list[float]:
    """One by one, without padding."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(str(model), dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model))
    logits = []
    for text in texts:
        encoded = tokenizer(text, add_special_tokens=special_tokens, return_tensors="pt")
        logits.append(float(network(**encoded).logits[0, 0]))
    return logits


def plain(candidate: Candidate) -> str:
    return f"Human: {candidate.messages[0]['content']}\n\nAssistant: {candidate.completion}\n\n"


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize(
    ("family", "eos_token"), [("Bert", None), ("Roberta", "<|im_end|>"), ("DebertaV2", None), ("ModernBert", None)]
)
def test_an_encoder_without_chat_template_reads_plain_text(
    family: str, eos_token: str | None, batch_size: int, tmp_path: Path
) -> None:
    """Once each: RoBERTa's are also its BOS and EOS, which the plain template writes for decoders."""
    path = make_encoder(tmp_path / "model", family, eos_token)
    expected = logits_of_texts(path, [plain(candidate) for candidate in CANDIDATES], special_tokens=True)
    values = [judgement.reward for judgement in judge(path, CANDIDATES, batch_size)]
    assert values == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_an_encoder_with_a_chat_template_uses_it(tmp_path: Path) -> None:
    path = make_encoder(tmp_path / "model", "Bert")
    (path / "chat_template.jinja").write_text(
        "<|im_start|>{{ messages[0].content }}<|im_end|>{{ messages[-1].content }}<|im_end|>"
    )
    texts = [f"<|im_start|>{c.messages[0]['content']}<|im_end|>{c.completion}<|im_end|>" for c in CANDIDATES]
    values = [judgement.reward for judgement in judge(path, CANDIDATES)]
    assert values == pytest.approx(logits_of_texts(path, texts, special_tokens=False), abs=1e-5)


@pytest.mark.parametrize(
    ("family", "eos_token", "longest"), [("Bert", None, POSITIONS), ("Roberta", "<|im_end|>", POSITIONS - 1)]
)
def test_an_encoder_is_given_no_more_than_it_has_positions_for(
    family: str, eos_token: str | None, longest: int, tmp_path: Path
) -> None:
    """RoBERTa counts positions from after that of its padding token, here 0: one less. A digit is a token."""
    path = make_encoder(tmp_path / "model", family, eos_token)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(path))
    messages = [{"role": "user", "content": "q"}]
    room = longest - len(tokenizer(plain(Candidate(messages, "7", None, {})))["input_ids"]) + 1
    judgements = judge(path, [Candidate(messages, "7" * length, None, {}) for length in (room, room + 1)])
    assert [judgement.status for judgement in judgements] == ["ok", "truncated"]
    assert judgements[1].detail == f"{longest + 1} tokens; the reward model reads {longest}"
