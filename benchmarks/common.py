"""What the benchmarks share: random models of a given size, prompts, the machine in words, a table."""

import os
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

import grao_pipeline


def random_words(rng: random.Random, count: int) -> str:
    """Words of a made-up language, of one to three syllables."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    return " ".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(count))


def make_tokenizer(path: Path, vocab_size: int) -> Any:
    """A byte-level BPE tokenizer trained on random words, with ChatML specials."""
    from grao_pipeline.testing import make_tiny_tokenizer  # here and below: not on a GPU that only measures steps

    rng = random.Random(0)
    return make_tiny_tokenizer(path, texts=(random_words(rng, 20) for _ in range(2000)), vocab_size=vocab_size)


def make_model(path: Path, hidden_size: int, num_layers: int, vocab_size: int, max_positions: int) -> Path:
    """A random Qwen2-style model (head_dim 64) with a tokenizer."""
    from grao_pipeline.testing import random_model

    tokenizer = make_tokenizer(path, min(vocab_size, 4096))
    heads = max(1, hidden_size // 64)
    model = random_model(
        tokenizer,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=max_positions,
        initializer_range=0.02,
    )
    model.save_pretrained(str(path))
    return path


def write_prompts(path: Path, count: int, words: int, seed: int) -> str:
    """A prompts table of random words, in one part."""
    from grao_pipeline.testing import prompt_row, write_table

    rng = random.Random(seed)
    rows = [prompt_row(random_words(rng, words), random_words(rng, 20)) for _ in range(count)]
    return write_table(path, "prompts", rows, rows_per_part=count)


def installed_environment() -> dict[str, str]:
    """The environment of processes that find their modules compiled, as those of an installed package, whatever the
    settings of this process are. It compiles this package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "compileall", "-q", str(Path(grao_pipeline.__file__).parent)]
    subprocess.run(command, env=environment, check=True)
    return environment


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
