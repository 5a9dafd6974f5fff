"""What the benchmarks share: random models of a given size, prompts, the machine in words, a table."""

import os
import platform
import random
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from grao_pipeline.fingerprints import prompt_fingerprint, stage_fingerprint
from grao_pipeline.schemas import PROMPTS
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]


def random_words(rng: random.Random, count: int) -> str:
    """Words of a made-up language, of one to three syllables."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    return " ".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(count))


def make_tokenizer(path: Path, vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on random words, with ChatML specials."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(0)
    tokenizer.train_from_iterator((random_words(rng, 20) for _ in range(2000)), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(str(path))
    return fast


def make_model(path: Path, hidden_size: int, num_layers: int, vocab_size: int, max_positions: int) -> Path:
    """A random Qwen2-style model (head_dim 64) with a tokenizer."""
    tokenizer = make_tokenizer(path, min(vocab_size, 4096))
    torch.manual_seed(0)
    heads = max(1, hidden_size // 64)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(str(path))
    return path


def write_prompts(path: Path, count: int, words: int, seed: int) -> str:
    """A prompts table of random words."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for _ in range(count):
        messages = [{"role": "user", "content": random_words(rng, words)}]
        reference = random_words(rng, 20)
        prompt_id = prompt_fingerprint(messages, reference, None, "{}")
        texts = {"messages": messages, "reference": reference, "rejected": None, "metadata": "{}"}
        rows.append({"prompt_id": prompt_id, **texts})
    return write_table(path, rows)


def write_table(path: Path, rows: Sequence[dict[str, object]]) -> str:
    """A prompts table of one part."""
    writer = TableWriter(
        str(path), Provenance("prompts", stage_fingerprint("benchmark", {}, {"rows": rows}), {}, {}), 1
    )
    writer.write(0, pa.Table.from_pylist(list(rows), schema=PROMPTS.arrow()))
    writer.finish()
    return str(path)


def describe_machine() -> str:
    """The machine and the versions that a number depends on, in one line."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    return f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {packages}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table on standard output."""
    click.echo(f"{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        click.echo(f"| {' | '.join(f'{value:.3f}' if isinstance(value, float) else str(value) for value in row)} |")
    click.echo("")
