"""Tiny real models and tables for the tests: made on the spot, seeded, real file formats."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from click.testing import CliRunner, Result

from grao_pipeline.fingerprints import group_fingerprint, prompt_fingerprint, stage_fingerprint
from grao_pipeline.schemas import TABLES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

TEXTS = [
    "Put these words in alphabetical order: plum fig mango apple",
    "What is two plus three? The answer is five.",
    "Say hello to the world, please. Hello world!",
    "0 1 2 3 4 5 6 7 8 9 10 42 100 #### 18",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(path: Path, chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """A byte-level BPE tokenizer of 320 tokens with ChatML specials."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = chat_template
    fast.save_pretrained(str(path))
    return fast


def make_model(path: Path, seed: int = 0, layers: int = 2, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """A random Qwen2-style model (hidden 64, head_dim 32, 256 positions) with its tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer(path, chat_template)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(str(path))
    return path


def make_reward_model(
    path: Path, seed: int = 0, num_labels: int = 1, names: Sequence[str] = (), family: str = "Qwen2"
) -> Path:
    """A random sequence classifier with its tokenizer.

    Args:
        names: of its outputs, instead of LABEL_0 and so on; then there are so many.
        family: of decoders, as transformers spells it.
    """
    import torch
    import transformers

    tokenizer = make_tokenizer(path)
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        num_labels=len(names) or num_labels,
        pad_token_id=tokenizer.pad_token_id,
    )
    if names:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}
    getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(str(path))
    return path


def prompt_row(text: str, reference: str | None = None, **metadata: Any) -> dict[str, Any]:
    """A row of the prompts table."""
    messages = [{"role": "user", "content": text}]
    packed = json.dumps(metadata, sort_keys=True)
    return {
        "prompt_id": prompt_fingerprint(messages, reference, None, packed),
        "messages": messages,
        "reference": reference,
        "rejected": None,
        "metadata": packed,
    }


def group_row(
    text: str,
    completions: Sequence[str],
    reference: str | None = "the reference",
    policy: str = "p" * 32,
    token_ids: Sequence[Sequence[int]] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A row of the groups table with made-up token ids."""
    prompt = prompt_row(text, reference, **metadata)
    ids = [list(row) for row in token_ids] if token_ids else [[5 + i, 6 + i, 2] for i in range(len(completions))]
    return {
        **prompt,
        "group_id": group_fingerprint(prompt["prompt_id"], policy, ids),
        "prompt_token_ids": [1, 7, 8],
        "reference_token_ids": None if reference is None else [9, 10, 11, 2],
        "completions": list(completions),
        "completion_token_ids": ids,
        "completion_logprobs": [[-1.0] * len(row) for row in ids],
        "finish_reasons": ["stop"] * len(ids),
        "policy": policy,
        "round": 0,
        "retokenized": None,
    }


def write_table(
    path: Path, table: str, rows: Sequence[dict[str, Any]], rows_per_part: int = 4, **provenance: Any
) -> str:
    """Write rows as a complete table of ours; its URL. Its fingerprint is that of the rows unless given."""
    found = provenance.pop("fingerprint", None) or stage_fingerprint("test", {}, {"rows": list(rows)})
    provenance = {"options": {}, "inputs": {}, **provenance}
    num_parts = -(-len(rows) // rows_per_part)
    writer = TableWriter(str(path), Provenance(table, found, **provenance), num_parts)
    for index in writer.missing():
        part = list(rows[index * rows_per_part : (index + 1) * rows_per_part])
        writer.write(index, pa.Table.from_pylist(part, schema=TABLES[table].arrow()))
    writer.finish()
    return str(path)


def grao(*arguments: object) -> Result:
    """Run a command in this process."""
    from grao_pipeline.cli.main import main

    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="grao")


def grao_json(*arguments: object) -> dict[str, Any]:
    """Run a command that must succeed; its JSON summary."""
    result = grao(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value
