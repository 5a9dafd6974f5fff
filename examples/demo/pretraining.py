"""Pre-training of the demo's base model: a byte-level BPE tokenizer and a small Qwen2, from scratch.

Only every fourth of the demonstrations is right: the others leave most words in English. So the model knows every word
yet answers like its teachers, and a lower temperature does not raise its mean reward: keeping the English word is the
likelier habit. That gap is what post-training closes.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import click
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from examples.demo.task import SPANISH, make_answer, make_prompt, make_words
from grao_pipeline.testing import random_model, train_tokenizer

DILIGENT_SHARE = 0.25
"""Share of the demonstrations that are right throughout."""
SLIP_RATE = 0.68
"""Probability that a word of any other demonstration is left in English."""
NUM_STEPS = 400
WARMUP_STEPS = 30
BATCH_SIZE = 96
LEARNING_RATE = 3e-3
HEAD_DIM = 32
"""Width of an attention head; the number of heads follows from it."""

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
Demonstrate: TypeAlias = Callable[[random.Random], tuple[str, str]]
IGNORED = -100
"""The label of tokens without a loss: the default of torch's cross-entropy."""


def make_tokenizer() -> Any:
    """Train byte-level BPE (any text encodes) until each word is one token, at the start of a line or not."""
    line_starts = [*SPANISH, *SPANISH.values(), "system", "user", "assistant"]
    texts = [make_prompt([*SPANISH, *SPANISH.values()]), *line_starts]
    return train_tokenizer(texts, vocab_size=1024)  # an upper bound: merging stops when every word is whole


def make_model(tokenizer: Any, seed: int) -> Any:
    """A Qwen2 of 0.4 million parameters with random weights."""
    hidden_size = 4 * HEAD_DIM
    return random_model(
        tokenizer,
        seed,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_attention_heads=hidden_size // HEAD_DIM,
        num_key_value_heads=hidden_size // HEAD_DIM,
        initializer_range=0.08,  # about 1/sqrt(hidden_size): the usual 0.02 learns several times slower here
    )


def make_demonstration(rng: random.Random) -> tuple[str, str]:
    """Draw one prompt and a teacher's answer to it."""
    return make_demonstration_of(make_words(rng), rng)


def make_demonstration_of(words: list[str], rng: random.Random) -> tuple[str, str]:
    """The prompt of these words and a teacher's answer to it."""
    diligent = rng.random() < DILIGENT_SHARE
    num_slips = 0 if diligent else sum(rng.random() < SLIP_RATE for _ in words)
    return make_prompt(words), make_answer(words, num_slips, rng)


def make_batches(tokenizer: Any, seed: int, demonstrate: Demonstrate, num_steps: int) -> Iterator[Batch]:
    """Yield the demonstrations as (tokens, labels), each (B, T); labels are IGNORED outside the answers."""
    rng = random.Random(seed)
    for _ in range(num_steps):
        tokens, labels = [], []
        for _ in range(BATCH_SIZE):
            prompt, answer = demonstrate(rng)
            chat = [{"role": "user", "content": prompt}]
            prompt_ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            answer_ids = tokenizer.encode(answer + tokenizer.eos_token)
            tokens.append(torch.tensor(prompt_ids + answer_ids))
            labels.append(torch.tensor([IGNORED] * len(prompt_ids) + answer_ids))
        yield (
            pad_sequence(tokens, batch_first=True, padding_value=tokenizer.pad_token_id),
            pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        )


def pretrain(seed: int, demonstrate: Demonstrate = make_demonstration, num_steps: int = NUM_STEPS) -> tuple[Any, Any]:
    """Next-token cross-entropy on the answers; the learning rate warms up, then falls along a cosine.

    Args:
        demonstrate: draws a prompt and a teacher's answer to it.

    Returns:
        the model and its tokenizer.
    """
    torch.set_num_threads(1)  # the same bits on any number of cores; at this size a second core gains little
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * step / num_steps)) / 2,
    )
    model.train()
    for step, (tokens, labels) in enumerate(make_batches(tokenizer, seed, demonstrate, num_steps), start=1):
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]  # (B, T - 1, D)
        trained = labels[:, 1:] != IGNORED  # (B, T - 1)
        loss = functional.cross_entropy(model.lm_head(hidden[trained]), labels[:, 1:][trained])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            click.echo(f"pre-training step {step}/{num_steps}, loss {loss.item():.3f}", err=True)
    return model, tokenizer
