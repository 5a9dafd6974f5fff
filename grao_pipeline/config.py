"""One options model per stage. Every default and every help text of the project is written here, once.

The commands make their options from these models and the rounds' YAML is validated by them. A field made with
`option` shapes the content of the stage's output and is part of its fingerprint; one made with `runtime` (devices,
batch sizes, places) does not and is not.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grao_pipeline.errors import UsageError

Options = TypeVar("Options", bound="StageOptions")
Format = Literal["auto", "hh", "preference", "prompt-completion", "messages", "question-answer"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

CACHE_HELP = "File of the cache of judgements; auto is judgements.sqlite in $GRAO_CACHE or ~/.cache/grao-pipeline."
PARENT_VARIABLE = "GRAO_PARENT_PID"
"""Environment variable that `grao rounds run` sets for its stages: a stage whose parent died stops too."""


def option(default: Any, help: str, **constraints: Any) -> Any:
    """A field that shapes what the stage writes. `...` as default makes it required."""
    return Field(default, description=help, json_schema_extra={"content": True}, **constraints)


def runtime(default: Any, help: str, **constraints: Any) -> Any:
    """A field that changes how the work is done, but not what is written."""
    return Field(default, description=help, json_schema_extra={"content": False}, **constraints)


class StageOptions(BaseModel):
    """Base of the options models."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    def content(self) -> dict[str, Any]:
        """The options that shape the output, for its fingerprint. Values are JSON."""
        shaping = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["content"]
        }
        return self.model_dump(mode="json", include=shaping)

    def arguments(self) -> list[str]:
        """The command-line arguments that give these options; those left at their defaults are left out."""
        arguments: list[str] = []
        for name in sorted(self.model_fields_set):
            flag = option_flag(name, type(self).model_fields[name].alias)
            value = getattr(self, name)
            if isinstance(value, bool):
                arguments.append(flag if value else f"--no-{flag[2:]}")
            elif isinstance(value, list):
                arguments += [part for element in value for part in (flag, str(element))]
            elif value is not None:
                arguments += [flag, str(value)]
        return arguments


class PromptsOptions(StageOptions):
    """`grao prompts`: any dataset → prompts."""

    format: Format = option("auto", "Format of the rows; found from the columns by default.")
    split: str = option("train", "Split to read, where the source has splits.")
    subset: str | None = option(None, "Configuration of a hub dataset that has several.")
    limit: int | None = option(None, "Read at most this many rows.", ge=1)
    map: list[str] = option([], "Rename a column before the format is applied: column=field. Repeatable.")
    system: str | None = option(None, "System message to put before every conversation that has none.")
    eval_fraction: float = option(
        0.0, "Share of prompts that goes, by hash, to OUT/eval; the rest goes to OUT/train.", ge=0.0, lt=1.0
    )
    rejects: str | None = runtime(None, "Write every dropped row, with its reason, to this JSONL file.")


class CurriculumOptions(StageOptions):
    """`grao curriculum`: prompts + groups and scores of earlier rounds → the prompts of the next round."""

    num_prompts: int | None = option(None, "Prompts to choose; by default all that are not retired.", ge=1)
    fraction: float | None = option(
        None, "Share to choose of the prompts that are not retired, instead of a number.", gt=0.0, le=1.0
    )
    uniform_mix: float = option(
        0.2,
        "Share of a prompt's chance that does not depend on its reward variance; 1 draws all alike.",
        ge=0.0,
        le=1.0,
    )
    retire_above: float = option(1.0, "Leave out prompts whose samples' mean reward is this or more: they are solved.")
    retire_below: float | None = option(
        None, "Leave out prompts whose samples' mean reward is this or less: they are hopeless."
    )
    seed: int = option(0, "Seed of the draw, which also depends on the newest round of the history.", ge=0)

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.num_prompts is not None and self.fraction is not None:
            raise ValueError("give --num-prompts or --fraction, not both")
        if self.retire_below is not None and self.retire_below >= self.retire_above:
            raise ValueError(
                f"--retire-below {self.retire_below:g} must be less than --retire-above {self.retire_above:g}"
            )
        return self


class ImportOptions(StageOptions):
    """`grao import`: prompts with responses from elsewhere → groups, and scores where there are rewards."""

    split: str = option("train", "Split to read, where the source has splits.")
    subset: str | None = option(None, "Configuration of a hub dataset that has several.")
    limit: int | None = option(None, "Read at most this many rows.", ge=1)
    map: list[str] = option([], "Rename a column before a row is read: column=field. Repeatable.")
    name: str = option("imported", "Name of the rewards that the source has, in later tables.")
    tokenizer: str | None = runtime(
        None, "Make token ids, as training needs them, with this model's tokenizer: a directory or hub id."
    )
    chat_template: str | None = option(None, "Jinja file to use instead of the tokenizer's chat template.")
    prompts_per_part: int = option(64, "Prompts per part: the unit of commit and of resume.", ge=1)
    rejects: str | None = runtime(None, "Write every dropped row, with its reason, to this JSONL file.")


class GenerateOptions(StageOptions):
    """`grao generate`: prompts → groups."""

    model: str = runtime(..., "Policy to sample from: a Hugging Face model directory or hub id.")
    adapter: str | None = runtime(None, "LoRA adapter (peft) on top of the model: a directory or hub id.")
    engine: str = runtime(
        "auto",
        "auto (vllm where it is installed), vllm, transformers, openai (a server, see --base-url), or your own as "
        "package.module:Class.",
    )
    samples: int = option(8, "Samples per prompt (G).", ge=1)
    samples_field: str | None = option(
        None, "Key of the prompts' metadata that holds a number of samples, for prompts that have it."
    )
    samples_file: str | None = runtime(
        None, "JSONL, CSV or Parquet with columns prompt_id and samples, for prompts that are in it."
    )
    extend: str | None = runtime(
        None, "Groups to add samples to: OUT gets their samples, unchanged, followed by --samples new ones."
    )
    temperature: float = option(0.7, "Sampling temperature; 0 is greedy.", ge=0.0)
    top_p: float = option(1.0, "Nucleus sampling: smallest set of tokens with this probability.", gt=0.0, le=1.0)
    max_new_tokens: int = option(2048, "Longest completion, in tokens.", ge=1)
    seed: int = option(0, "Seed of the run; every prompt derives its own from it.", ge=0)
    round: int = option(0, "Number of the round, stored with every group.", ge=0)
    chat_template: str | None = option(None, "Jinja file to use instead of the tokenizer's chat template.")
    dtype: Dtype = option("auto", "Precision of the policy; auto is float32 on CPU, the checkpoint's own on GPU.")
    quantization: str | None = option(None, "vLLM's quantization method, where the checkpoint does not name one.")
    prompts_per_part: int = option(64, "Prompts per part: the unit of commit and of resume.", ge=1)
    max_model_len: int | None = option(
        None, "Longest prompt plus completion, in tokens; the model's own by default.", ge=2
    )
    engine_arg: list[str] = option([], "Further argument of the engine as key=value, e.g. max_num_seqs=64. Repeatable.")
    tensor_parallel_size: int = runtime(1, "GPUs that vLLM splits the model over.", ge=1)
    gpu_memory_utilization: float | None = runtime(
        None, "Share of the GPU's memory for vLLM; its own default (0.92) if not given.", gt=0.0, le=1.0
    )
    device: Device = runtime("auto", "Device of an engine in this process.")
    batch_size: int = runtime(32, "Prompts that the transformers engine samples together.", ge=1)
    base_url: str | None = runtime(
        None, "OpenAI-compatible server of --engine openai, e.g. http://localhost:8000/v1. Key: OPENAI_API_KEY."
    )
    served_model: str | None = runtime(None, "The model's name on that server; by default the only one it serves.")
    concurrency: int = runtime(64, "Requests in flight at the server.", ge=1, le=1000)
    retries: int = runtime(
        10,
        "Tries after one that failed, waiting 0.5, 1, 2, 4, then 8 s each: 10 last a minute, 60 a restart.",
        ge=0,
    )
    request_timeout: float = runtime(600.0, "Seconds after which a request is tried again.", gt=0.0)
    allow_retokenize: bool = option(
        False, "Make token ids from text where the server returns none; such rows are marked, without log-probs."
    )
    worker: str | None = runtime(
        None, "i/N: make only the parts whose number is i modulo N. The last of the N writes the manifest."
    )
    executor: Literal["local", "ray"] = runtime("local", "Where engines run: this process, or actors on a Ray cluster.")
    actors: int = runtime(1, "Engines on the Ray cluster.", ge=1)
    ray_address: str | None = runtime(None, "Address of the Ray cluster; RAY_ADDRESS, or one of this machine's own.")
    actor_gpus: float | None = runtime(
        None, "GPUs per actor; as many as --tensor-parallel-size where the cluster has any.", ge=0.0
    )


class ScoreOptions(StageOptions):
    """`grao score`: groups → scores."""

    reward: str = option(
        ...,
        "A name (see README, Rewards), e.g. gsm8k, math, reward-model or judge-pairwise, or your own function as "
        "package.module:function.",
    )
    reward_arg: list[str] = option(
        [], "Argument of the reward as key=value, e.g. pattern='^Yes' or model=PATH. Repeatable."
    )
    name: str | None = option(None, "Name of the reward in later tables; the reward's own by default.")
    batch_size: int = runtime(
        32,
        "Sequences of 512 tokens (32 on CPU) that a reward model scores together; more where they are shorter.",
        ge=1,
    )
    device: Device = runtime("auto", "Device of a reward model.")
    worker: str | None = runtime(
        None, "i/N: make only the parts whose number is i modulo N. The last of the N writes the manifest."
    )
    cache: str = runtime("auto", CACHE_HELP)
    use_cache: bool = runtime(True, "Take judgements from the cache, and add to it.")


class AdvantagesOptions(StageOptions):
    """`grao advantages`: groups + scores → advantages."""

    combine: Literal["sum", "normalise", "minimum", "uncertainty", "lexicographic"] = option(
        "sum",
        "How several rewards become one: their weighted sum; the sum of each standardised in its group; the smallest; "
        "their mean less their disagreement; or rewards with a --gate before those without.",
    )
    uncertainty_penalty: float | None = option(
        None, "Standard deviations to subtract from the mean, for --combine uncertainty.", ge=0.0
    )
    gate: list[str] = option(
        [], "For --combine lexicographic: NAME=THRESHOLD, what a reward must reach for later ones to count. Repeatable."
    )
    estimator: str = option(
        "grao",
        "Estimator: grao, grpo, dr-grpo, rloo, reinforce++-baseline, max-rl, gdpo, opmd, asymre, rank, best-of-n, sft, "
        "or your own as package.module:function.",
    )
    estimator_arg: list[str] = option(
        [], "Argument of the estimator as key=value, a number, e.g. delta_v=-0.2 for asymre. Repeatable."
    )
    statistics: Literal["samples_and_reference", "samples"] = option(
        "samples_and_reference", "Sequences over which the group's mean and standard deviation are taken."
    )
    reference_floor: float | None = option(
        None, "Lower clamp of the reference's advantage, e.g. 0 to never push references down."
    )
    keep_zero_variance: bool = option(
        False,
        "Keep groups whose rewards are all equal, with advantages of exactly 0, instead of masking them.",
    )
    max_rounds_behind: int | None = option(
        None, "Mask groups more than so many rounds older than the newest of the table.", ge=0
    )
    unscored: Literal["sample", "group"] = option(
        "sample", "What an unscored sample masks: itself, or its whole group."
    )
    truncated: Literal["keep", "drop", "zero"] = option(
        "keep",
        "Samples that finished by length: keep them, drop them from statistics and training, or count them and give "
        "them an advantage of 0.",
    )
    min_tokens: int | None = option(None, "Mask samples of fewer tokens.", ge=1)
    max_tokens: int | None = option(None, "Mask samples of more tokens.", ge=1)
    duplicates: Literal["keep", "drop"] = option(
        "keep", "Samples with the token ids of an earlier one of their group: keep or mask them."
    )
    max_deviations: float | None = option(
        None,
        "Mask samples whose reward is more than so many (robust) standard deviations from the group's median.",
        gt=0,
    )
    min_group_size: int | None = option(None, "Mask groups with fewer scored samples left.", ge=1)
    min_mean_reward: float | None = option(None, "Mask groups whose samples' mean reward is lower.")
    max_mean_reward: float | None = option(None, "Mask groups whose samples' mean reward is higher.")
    top_k: int | None = option(None, "Train on the so many best samples of a group, beside those of --bottom-k.", ge=1)
    bottom_k: int | None = option(None, "Train on the so many worst samples of a group, beside those of --top-k.", ge=1)
    dry_run: bool = runtime(
        False, "Write nothing: report what each filter masks and how the advantages are distributed."
    )

    def content(self) -> dict[str, Any]:
        """Work that does not use what was added later is the work that it was before, under the same fingerprint."""
        first = {"estimator", "statistics", "reference_floor", "keep_zero_variance"}
        if self.combine != "sum":
            first |= {"combine", "uncertainty_penalty", "gate"}
        fields = type(self).model_fields
        return {
            name: value
            for name, value in super().content().items()
            if name in first or getattr(self, name) != fields[name].default
        }


class TrainOptions(StageOptions):
    """`grao train`: groups + advantages → model."""

    model: str = runtime(..., "Model to train: a Hugging Face model directory or hub id.")
    objective: str = option(
        "grao", "Objective: grao, sft, grpo, dr-grpo, dpo, asymre, opmd, or your own as package.module:Class."
    )
    objective_arg: list[str] = option(
        [], "Argument of the objective as key=value, e.g. clip_high=0.28 or dpo_beta=0.05. Repeatable."
    )
    beta: float = option(0.5, "Weight of GRAO's imitation term.", ge=0.0)
    lambda_: float = option(0.6, "Weight of GRAO's alignment regulariser.", ge=0.0, alias="lambda")
    correction: Literal["none", "truncated-is", "sequence-is", "mask-band"] = option(
        "none",
        "What a token's log-prob is multiplied by, r being its probability over that under the policy that sampled: "
        "truncated-is min(r, cap); sequence-is the same with the sequence's geometric mean of r; mask-band 0 where r "
        "leaves a band.",
    )
    ratio_cap: float | None = option(None, "Cap of r for --correction truncated-is and sequence-is, e.g. 2.", ge=1.0)
    ratio_low: float | None = option(None, "Lower end of the band of --correction mask-band, e.g. 0.5.", ge=0.0, le=1.0)
    ratio_high: float | None = option(None, "Upper end of the band of --correction mask-band, e.g. 2.", ge=1.0)
    negative_floor: float | None = option(
        None, "Do not push a token down whose log-prob, in nats, is already below this, e.g. -10.", lt=0.0
    )
    max_rounds_behind: int | None = option(
        None, "Leave out groups more than so many rounds older than the newest of all tables.", ge=0
    )
    learning_rate: float = option(1e-6, "Peak learning rate of AdamW.", gt=0.0)
    weight_decay: float = option(0.01, "Weight decay of AdamW.", ge=0.0)
    adam_beta1: float = option(0.9, "First-moment decay of AdamW.", ge=0.0, lt=1.0)
    adam_beta2: float = option(0.999, "Second-moment decay of AdamW.", ge=0.0, lt=1.0)
    max_grad_norm: float = option(1.0, "Clip the gradient's norm to this; 0 switches clipping off.", ge=0.0)
    groups_per_step: int = option(64, "Groups (prompts) per optimizer step.", ge=1)
    epochs: int = option(1, "Passes over the groups.", ge=1)
    max_steps: int | None = option(None, "Stop after this many optimizer steps.", ge=1)
    warmup_steps: int = option(0, "Steps of linear warm-up from 0 to the peak.", ge=0)
    schedule: Literal["constant", "linear", "cosine"] = option("constant", "Learning rate after warm-up.")
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "Precision of forward and backward; weights and optimizer stay float32."
    )
    save_dtype: Dtype = option("auto", "Precision of the saved weights; auto is that of the model given.")
    seed: int = option(0, "Seed of the order of groups and of dropout.", ge=0)
    allow_off_policy: bool = option(False, "Train although the groups were sampled by other weights than --model.")
    tokens_per_batch: int = option(
        16384, "Tokens per micro-batch, a group's prompt counted once; a larger sequence makes its own.", ge=1
    )
    attention: Literal["auto", "split", "varlen", "flex", "rows"] = runtime(
        "auto",
        "How a group's sequences share their prompt; auto is varlen on CUDA and split elsewhere. rows shares nothing.",
    )
    optimizer: Literal["adamw", "adamw-8bit", "paged-adamw-8bit"] = option(
        "adamw", "Optimizer: adamw; adamw-8bit (torchao or bitsandbytes), paged-adamw-8bit (bitsandbytes)."
    )
    lora_rank: int = option(0, "Train a LoRA adapter of this rank instead of all weights; 0 trains all.", ge=0)
    lora_alpha: float = option(16.0, "Scale of the adapter: its update is multiplied by alpha / rank.", gt=0.0)
    lora_target: list[str] = option([], "Layer to adapt, e.g. q_proj; all linear layers by default. Repeatable.")
    lora_dropout: float = option(0.0, "Dropout on the adapter's input.", ge=0.0, lt=1.0)
    save_adapter: bool = option(False, "Write the adapter alone instead of the model with the adapter merged.")
    load_in_4bit: bool = option(False, "Keep the frozen weights in 4 bits (QLoRA, bitsandbytes); needs --lora-rank.")
    gradient_checkpointing: bool = runtime(False, "Recompute activations in the backward pass to save memory.")
    compile: bool = runtime(False, "Compile the model's layers (torch.compile).")
    shard: Literal["full", "hybrid"] = runtime(
        "full", "Under torchrun: full spreads the weights over all ranks, hybrid over those of a machine."
    )
    cpu_offload: bool = runtime(False, "Keep weights and optimizer in CPU memory between their uses.")
    max_skipped_steps: int = runtime(
        3, "Stop after this many steps in a row whose loss or gradient was not finite; each is skipped.", ge=1
    )
    checkpoint_steps: int = runtime(50, "Steps between checkpoints for exact resume; 0 writes none.", ge=0)
    dry_run: bool = runtime(False, "Write nothing: time one step, and report steps, tokens, memory and time.")
    profile: bool = runtime(False, "Write a profiler trace of a few steps to OUT/profile (chrome://tracing).")
    device: Device = runtime("auto", "Device to train on.")

    @model_validator(mode="after")
    def _adapter_options_have_an_adapter(self) -> Self:
        if self.lora_rank:
            return self
        names = ("lora_target", "lora_dropout", "save_adapter", "load_in_4bit")
        given = [name for name in names if getattr(self, name)]
        if given:
            raise ValueError(f"{option_flag(given[0], None)} needs an adapter: give --lora-rank, e.g. 16")
        return self

    def content(self) -> dict[str, Any]:
        """A training without what came after the first release is the work that it was, under the same fingerprint."""
        later = {"objective_arg", "correction", "ratio_cap", "ratio_low", "ratio_high", "negative_floor"}
        later |= {"max_rounds_behind"}
        later |= {"optimizer", "lora_rank", "lora_alpha", "lora_target", "lora_dropout", "save_adapter", "load_in_4bit"}
        fields = type(self).model_fields
        return {
            name: value
            for name, value in super().content().items()
            if name not in later or value != fields[name].default
        }


class EvaluateOptions(StageOptions):
    """`grao evaluate`: groups + scores → metrics."""

    base_groups: str | None = runtime(None, "Groups that the base model sampled from the same prompts, for NAG.")
    base_scores: str | None = runtime(None, "Scores of those groups, by the same reward.")
    confidence: float = option(0.95, "Coverage of the bootstrap intervals.", gt=0.0, lt=1.0)
    bootstrap_samples: int = option(10_000, "Bootstrap resamples of the prompts.", ge=100)
    seed: int = option(0, "Seed of the bootstrap.", ge=0)

    @model_validator(mode="after")
    def _base_is_complete(self) -> Self:
        if (self.base_groups is None) != (self.base_scores is None):
            raise ValueError("base_groups and base_scores go together: give both or neither")
        return self


class InspectOptions(StageOptions):
    """`grao inspect`: any table or model, described."""

    examples: int = runtime(2, "Rows to show.", ge=0)
    table: Literal["prompts", "groups", "scores", "advantages"] | None = runtime(
        None, "Kind of a foreign table; found from its columns by default."
    )


class CacheInfoOptions(StageOptions):
    """`grao cache info`: what the cache of judgements holds."""

    cache: str = runtime("auto", CACHE_HELP)


class CachePruneOptions(StageOptions):
    """`grao cache prune`: delete judgements."""

    cache: str = runtime("auto", CACHE_HELP)
    unused_days: float | None = runtime(None, "Only judgements that were not used for so many days.", ge=0.0)
    reward: str | None = runtime(None, "Only those of this reward: its name or fingerprint, as info shows them.")
    status: Literal["ok", "unparsable", "truncated"] | None = runtime(
        None, "Only those with this status, e.g. unparsable, to have them judged again."
    )

    @model_validator(mode="after")
    def _something_is_chosen(self) -> Self:
        if self.unused_days is None and self.reward is None and self.status is None:
            raise ValueError("say which to delete: --unused-days (0: all), --reward or --status")
        return self


def option_flag(name: str, alias: str | None) -> str:
    """The command-line flag of a field, e.g. `--max-new-tokens`."""
    return f"--{(alias or name).replace('_', '-')}"


def parse_options(model: type[Options], values: Mapping[str, Any], where: str = "") -> Options:
    """Build an options model from untrusted values.

    Args:
        where: what holds the values, e.g. `rounds.yaml: train`; empty for the command line.

    Raises:
        UsageError: names every wrong option with its value and what is allowed.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(option_problem(detail, where) for detail in error.errors())
        raise UsageError(f"{where}: {problems}" if where else problems) from None


def option_problem(detail: Any, where: str) -> str:
    """One of pydantic's errors in words.

    Args:
        where: what holds the values; empty for the command line, whose options begin with --.
    """
    name = ".".join(str(part) for part in detail["loc"])
    label = name if where or not name else "--" + name.replace("_", "-").rstrip("-")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"{label} is required"
    if detail["type"] == "extra_forbidden":
        return f"{label} is not an option of this stage"
    if not label:
        return str(message)
    return f"{label} = {detail['input']!r}: {message[0].lower()}{message[1:]}"
