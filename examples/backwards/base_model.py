"""The demo's base model, made on the spot: a byte-level BPE tokenizer and a small Qwen2, in well under a minute.

It is pre-trained on demonstrations most of which have faults, so it knows how to do the task and mostly does not: each
fault is about as likely in its samples as in what it imitated. That is the gap which post-training closes.

    python -m examples.backwards.base_model OUT
"""

import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from examples.backwards.task import FAULTS, WORDS, make_answer, make_prompt, make_words

FAULT_RATE = {"order": 0.5, "words": 0.2, "commas": 0.5, "stop": 0.5}
"""Share of the demonstrations that have each fault, independently: what the base model learns to imitate."""
NUM_STEPS = 300
BATCH_SIZE = 128
LEARNING_RATE = 5e-3
WARMUP_STEPS = 30
HEAD_DIM = 32

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
IGNORED = -100
"""The label of a token that no loss is taken on, as torch's cross-entropy has it."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train byte-level BPE (any text encodes) until each word of the task is one token, at a line's start or not."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,  # an upper bound: merging stops when every word is whole
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([make_prompt(WORDS), *WORDS, "system", "user", "assistant"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, chat_template=CHAT_TEMPLATE
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A Qwen2 of about 0.4 million parameters, freshly initialised."""
    hidden_size = 4 * HEAD_DIM
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=hidden_size // HEAD_DIM,
        num_key_value_heads=hidden_size // HEAD_DIM,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.08,  # about 1/sqrt(hidden_size): the usual 0.02 learns several times slower at this width
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def make_batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the demonstrations as (tokens, labels), each (B, T); labels are IGNORED outside the answers."""
    rng = random.Random(seed)
    for _ in range(NUM_STEPS):
        prompts, answers = [], []
        for _ in range(BATCH_SIZE):
            words = make_words(rng)
            messages = [{"role": "user", "content": make_prompt(words)}]
            prompts.append(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
            faults = [fault for fault in FAULTS if rng.random() < FAULT_RATE[fault]]
            answers.append(make_answer(words, faults, rng) + END)
        tokens, labels = [], []
        for prompt, answer in zip(tokenizer(prompts)["input_ids"], tokenizer(answers)["input_ids"], strict=True):
            tokens.append(torch.tensor(prompt + answer))
            labels.append(torch.tensor([IGNORED] * len(prompt) + answer))
        yield (
            pad_sequence(tokens, batch_first=True, padding_value=tokenizer.pad_token_id),
            pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        )


def pretrain(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Plain next-token cross-entropy on the answers; the learning rate warms up, then falls along a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / NUM_STEPS)),
    )
    model.train()
    for step, (tokens, labels) in enumerate(make_batches(tokenizer, seed), start=1):
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
        trained = labels[:, 1:] != IGNORED
        loss = functional.cross_entropy(model.lm_head(hidden[trained]), labels[:, 1:][trained])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            click.echo(f"step {step}/{NUM_STEPS}  loss {loss.item():.3f}", err=True)


def make_base_model(out: Path, seed: int) -> None:
    """Write the base model and its tokenizer to `out`, whole or not at all."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    pretrain(model, tokenizer, seed)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.replace(out)


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", default=0, show_default=True, help="Seed of the initial weights and of the demonstrations.")
def main(out: Path, seed: int) -> None:
    """Write the base model and its tokenizer to OUT."""
    if (out / "config.json").is_file():
        click.echo(f"{out} is there already", err=True)
        return
    make_base_model(out, seed)
    click.echo(f"wrote {out}", err=True)


if __name__ == "__main__":
    main()
