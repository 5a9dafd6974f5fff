"""Random models and their tokenizers, made on the spot in a second: seeded, and in the files of Hugging Face.

They sample nonsense, but everything else about them is real: a chat template, an end-of-turn token, configuration,
weights. So a whole pipeline runs on them in a test, without a download.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = (
    "Put these words in alphabetical order: plum fig mango apple",
    "What is two plus three? The answer is five.",
    "Say hello to the world, please. Hello world!",
    "0 1 2 3 4 5 6 7 8 9 10 42 100 #### 18",
)
"""What the tiny tokenizer is trained on."""
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML."""
SPECIAL_TOKENS = ("<|pad|>", "<|im_start|>", "<|im_end|>")
"""Token ids 0, 1 and 2; the last ends a turn."""
TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
"""Sizes of the tiny models, as transformers' configurations name them."""


def make_tiny_model(
    path: str | Path, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE, **configuration: object
) -> Path:
    """Write a random causal language model with its tokenizer: Qwen2, two layers of width 64, 256 positions.

    Args:
        chat_template: of the tokenizer; None makes it a base model's.
        configuration: fields of `transformers.Qwen2Config` that shall differ, e.g. `num_hidden_layers=4`.

    Returns:
        `path`, for `GenerateOptions(model=str(path))`.

    Example:
        model = make_tiny_model(tmp_path / "model")
        generate_groups(prompts, groups, GenerateOptions(model=str(model), engine="transformers"))
    """
    tokenizer = make_tiny_tokenizer(path, chat_template)
    with no_progress_bars():
        random_model(tokenizer, seed, **configuration).save_pretrained(str(path))
    return Path(path)


def make_tiny_tokenizer(
    path: str | Path, chat_template: str | None = CHAT_TEMPLATE, texts: Iterable[str] = TEXTS, vocab_size: int = 320
) -> "PreTrainedTokenizerBase":
    """Write a byte-level BPE tokenizer with the special tokens of ChatML, and return it.

    Args:
        vocab_size: at most; merging stops earlier where every word of `texts` is a token.
    """
    tokenizer = train_tokenizer(texts, vocab_size, chat_template)
    tokenizer.save_pretrained(str(path))
    return tokenizer


def make_tiny_reward_model(
    path: str | Path,
    seed: int = 0,
    num_labels: int = 1,
    names: Sequence[str] = (),
    family: str = "Qwen2",
    **changes: object,
) -> Path:
    """Write a random sequence classifier with its tokenizer, for reward `reward-model`.

    Args:
        num_labels: outputs of the model; ignored where `names` are given.
        names: of its outputs, instead of LABEL_0 and so on.
        family: of decoders, as transformers spells it.
        changes: fields of the configuration that shall differ.

    Returns:
        `path`.
    """
    import torch
    import transformers

    tokenizer = make_tiny_tokenizer(path)
    sizes = {**TINY, "initializer_range": 0.2, "num_labels": len(names) or num_labels, **changes}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes
    )
    if names:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    with no_progress_bars():
        model.save_pretrained(str(path))
    return Path(path)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """transformers draws none in this block: a tiny model is written at once."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, chat_template: str | None = CHAT_TEMPLATE
) -> "PreTrainedTokenizerBase":
    """Train a byte-level BPE tokenizer (any text encodes) with the special tokens of ChatML, in memory."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, _, end = SPECIAL_TOKENS
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=pad)
    fast.chat_template = chat_template
    return fast


def random_model(tokenizer: "PreTrainedTokenizerBase", seed: int = 0, **configuration: object) -> "PreTrainedModel":
    """A Qwen2 with random weights for a tokenizer, in memory; torch's generator stays as it is.

    Args:
        configuration: fields of `transformers.Qwen2Config` that shall differ from `TINY`.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    of_tokenizer = {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    settings = {**TINY, **of_tokenizer, "tie_word_embeddings": True, "initializer_range": 0.1, **configuration}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(Qwen2Config(**settings))
