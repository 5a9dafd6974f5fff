"""The model that samples: its weights, its tokenizer and its limits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.chat import PromptTokenizer, stop_token_ids
from grao_pipeline.models.source import ModelSource, load_config, load_tokenizer
from grao_pipeline.models.templates import TemplateSettings, read_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

DEFAULT_CONTEXT_LENGTH = 4096
"""Of a model whose config has no number of positions."""


@dataclass(frozen=True)
class Policy:
    """A model that is ready to sample from, but for its weights."""

    source: ModelSource
    tokenizer: PromptTokenizer
    context_length: int
    """Longest prompt plus completion, in tokens."""
    vocab_size: int

    @property
    def fingerprint(self) -> str:
        """Of the weights."""
        return self.source.fingerprint


def load_prompt_tokenizer(options: GenerateOptions, source: ModelSource) -> PromptTokenizer:
    """The model's tokenizer, with its chat template or that of `--chat-template`.

    Raises:
        InputError: the tokenizer or the template cannot be loaded.
        UsageError: an argument of the template is wrong, or a reference cannot be written as the options want it.
    """
    settings = TemplateSettings.parse(options.template_arg, options.template_date)
    tokenizer = load_tokenizer(source)
    stops = stop_token_ids(tokenizer, source.directory)
    prompts = PromptTokenizer(tokenizer, stops, read_template(options.chat_template), settings)
    if options.reference_reasoning == "none" and prompts.style is not None and prompts.style.is_open:
        raise UsageError(
            "the chat template opens the reasoning in every prompt, so that an answer cannot do without. Choose empty, "
            "or turn reasoning off with --template-arg where the template has a variable for that.",
            option="reference_reasoning",
        )
    return prompts


def load_policy(options: GenerateOptions, source: ModelSource, tokenizer: PromptTokenizer) -> Policy:
    """The policy of a run.

    Raises:
        InputError: the model is not a causal language model.
        UsageError: `--max-model-len` is larger than the model's number of positions.
    """
    config = load_config(source)
    _check_is_causal(options.model, config)
    text_config = config.get_text_config()
    return Policy(source, tokenizer, _context_length(options, text_config), int(text_config.vocab_size))


def _check_is_causal(model: str, config: "PreTrainedConfig") -> None:
    """An engine would give a model without a language-modeling head a random one, or fail with a confusing error."""
    for architecture in config.architectures or []:
        if "Classification" in architecture or "RewardModel" in architecture:
            raise InputError(f"{model} is a {architecture}; a policy is a causal language model.")


def _context_length(options: GenerateOptions, text_config: object) -> int:
    limit = getattr(text_config, "max_position_embeddings", None) or DEFAULT_CONTEXT_LENGTH
    if options.max_model_len is not None and options.max_model_len > limit:
        raise UsageError(
            f"{options.max_model_len} is too long; the model's positions end at {limit}.", option="max_model_len"
        )
    return int(options.max_model_len or limit)
