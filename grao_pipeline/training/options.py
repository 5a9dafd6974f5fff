"""Options of `grao train`."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from grao_pipeline.options import (
    Device,
    Dtype,
    KeyValues,
    Processes,
    StageOptions,
    option,
    option_flag,
    runtime,
    tables,
)
from grao_pipeline.presets import Preset, preset_option, with_preset
from grao_pipeline.tracking.options import LOG_TO_HELP

STABLE = {"correction": "truncated-is", "ratio_cap": 1.0}
"""What the preset `stable` sets."""


class TrainOptions(StageOptions):
    """`grao train`: groups + advantages → model."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "adapter": "Further inputs",
        "objective": "Objective",
        "preset": "Stability, and groups of older policies",
        "learning_rate": "Optimization",
        "dtype": "Precision and memory",
        "lora_rank": "LoRA",
        "gradient_checkpointing": "Running",
    }
    first_options: ClassVar[tuple[str, ...]] = (
        "model",
        "objective",
        "beta",
        "lambda_",
        "learning_rate",
        "groups_per_step",
        "epochs",
        "lora_rank",
    )

    model: str = runtime(..., "Model to train: a Hugging Face model directory or hub id.")
    adapter: str | None = runtime(
        None, "LoRA adapter on top of --model to train further: a directory of grao train --save-adapter, or of peft."
    )
    replay: list[tuple[str, str]] = tables(
        [], "Train on these groups, too, e.g. those of an earlier round. Repeatable.", metavar="GROUPS ADVANTAGES"
    )
    logprobs: list[str] = tables(
        [],
        "Log-probs of these groups under another model, by grao logprobs, as NAME=TABLE: objectives compare with NAME. "
        "Repeatable.",
        metavar="NAME=TABLE",
    )
    objective: str = option(
        "grao",
        "Objective: grao, sft, grpo, dr-grpo, gspo, dapo, cispo, sapo, chord, rec, asymre, opmd, dpo, pairwise, simpo, "
        "orpo, kto, sppo, disco, trpa, ranked-list, regression, p3o, distillation, gkd, sparse-pair, bridged-pair, or "
        "your own package.module:Class.",
        plugin="objective",
    )
    objective_arg: KeyValues = option(
        [], "Argument of the objective as key=value, e.g. clip_high=0.28 or dpo_beta=0.05. Repeatable."
    )
    beta: float = option(0.5, "Weight of GRAO's imitation term.", ge=0.0)
    lambda_: float = option(0.6, "Weight of GRAO's alignment regularizer.", ge=0.0, alias="lambda")
    preset: Preset = preset_option(STABLE)
    correction: Literal["none", "truncated-is", "sequence-is", "mask-band"] = option(
        "none",
        "Importance-sampling correction: factor of a token's log-prob, r being its probability over that under the "
        "policy that sampled. truncated-is: min(r, cap); sequence-is: the same with the geometric mean of r over the "
        "sequence; mask-band: 0 where r leaves a band.",
    )
    ratio_cap: float | None = option(None, "Cap of r for --correction truncated-is and sequence-is, e.g. 2.", ge=1.0)
    ratio_low: float | None = option(None, "Lower end of the band of --correction mask-band, e.g. 0.5.", ge=0.0, le=1.0)
    ratio_high: float | None = option(None, "Upper end of the band of --correction mask-band, e.g. 2.", ge=1.0)
    negative_floor: float | None = option(
        None,
        "Do not lower the probability of a token whose log-prob, in nats, is already below this, e.g. -10.",
        lt=0.0,
    )
    max_rounds_behind: int | None = option(
        None, "Skip groups more than this many rounds older than the newest group of all tables.", ge=0
    )
    learning_rate: float = option(1e-6, "Peak learning rate of AdamW.", gt=0.0)
    weight_decay: float = option(0.01, "Weight decay of AdamW.", ge=0.0)
    adam_beta1: float = option(0.9, "First-moment decay of AdamW.", ge=0.0, lt=1.0)
    adam_beta2: float = option(0.999, "Second-moment decay of AdamW.", ge=0.0, lt=1.0)
    max_grad_norm: float = option(1.0, "Clip the gradient's norm to this; 0 switches clipping off.", ge=0.0)
    groups_per_step: int = option(64, "Groups (prompts) per optimizer step.", ge=1)
    epochs: int = option(1, "Passes over the groups.", ge=1, le=10_000)
    max_steps: int | None = option(None, "Stop after this many optimizer steps.", ge=1)
    warmup_steps: int = option(0, "Steps of linear warm-up from 0 to the peak.", ge=0)
    schedule: Literal["constant", "linear", "cosine"] = option("constant", "Learning rate after warm-up.")
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Precision of forward and backward; weights and optimizer are float32. auto: bfloat16 on CUDA, else float32.",
    )
    save_dtype: Dtype = option("auto", "Precision of the saved weights; auto is that of --model.")
    seed: int = option(0, "Seed of the order of groups and of dropout.", ge=0)
    allow_off_policy: bool = option(False, "Train although the groups were sampled by other weights than --model.")
    tokens_per_batch: int = option(
        16384,
        "Tokens per micro-batch, a group's prompt counted once; a longer sequence is a micro-batch by itself.",
        ge=1,
    )
    attention: Literal["auto", "split", "varlen", "flex", "rows"] = runtime(
        "auto",
        "How a group's sequences share their prompt; auto is varlen on CUDA and split elsewhere. rows shares nothing.",
        plugin="attention",
    )
    optimizer: Literal["adamw", "adamw-8bit", "paged-adamw-8bit"] = option(
        "adamw", "Optimizer: adamw; adamw-8bit (torchao or bitsandbytes), paged-adamw-8bit (bitsandbytes)."
    )
    save_optimizer: bool = option(
        False, "Save the optimizer's state with the model, for a training with --carry-optimizer that follows."
    )
    carry_optimizer: bool = option(
        False, "Start from the optimizer's state that --model (or --adapter) was saved with by --save-optimizer."
    )
    lora_rank: int = option(0, "Train a LoRA adapter of this rank instead of all weights; 0 trains all.", ge=0)
    lora_alpha: float = option(16.0, "Scale of the adapter: its update is multiplied by alpha / rank.", gt=0.0)
    lora_target: list[str] = option([], "Layer to adapt, e.g. q_proj; all linear layers by default. Repeatable.")
    lora_dropout: float = option(0.0, "Dropout on the adapter's input.", ge=0.0, lt=1.0)
    save_adapter: bool = option(False, "Write only the adapter instead of the model with the adapter merged.")
    load_in_4bit: bool = option(False, "Store the frozen weights in 4 bits (QLoRA, bitsandbytes); needs --lora-rank.")
    gradient_checkpointing: bool | None = runtime(
        None,
        "Recompute activations in the backward pass to save memory; by default on CUDA where an estimate says that the "
        "training does not fit without.",
    )
    compile: bool = runtime(False, "Compile the model's layers (torch.compile).")
    processes: Processes = runtime(
        "auto", "Processes (ranks) on this machine, each with its own GPU; auto: one for every GPU, else 1."
    )
    nodes: int = runtime(1, "Machines that train together: start the command on each of them.", ge=1)
    rendezvous: str | None = runtime(
        None, "Where the machines meet, as HOST:PORT with a free port of one of them, e.g. node0:29400."
    )
    shard: Literal["full", "hybrid"] = runtime(
        "full", "With several ranks: full shards the weights over all ranks, hybrid over those of a machine."
    )
    cpu_offload: bool = runtime(False, "Store weights and optimizer in CPU memory between their uses.")
    max_skipped_steps: int = runtime(
        3,
        "Stop after this many skipped steps in a row; a step is skipped where its loss or gradient is not finite.",
        ge=1,
    )
    checkpoint_steps: int = runtime(50, "Steps between checkpoints for exact resume; 0 writes none.", ge=0)
    keep_checkpoints: int = runtime(
        1, "Newest checkpoints that stay until the training is finished: to go back, delete the last ones.", ge=1
    )
    log_to: list[str] = runtime([], LOG_TO_HELP)
    dry_run: bool = runtime(False, "Write nothing: time one micro-batch, and report steps, tokens, memory and time.")
    profile: bool = runtime(False, "Write a profiler trace of a few steps to OUT/profile (chrome://tracing).")
    device: Device = runtime("auto", "Device to train on.")

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: object) -> object:
        return with_preset(values, STABLE)

    @model_validator(mode="after")
    def _machines_can_meet(self) -> Self:
        if (self.nodes > 1) != (self.rendezvous is not None):
            raise ValueError("--nodes and --rendezvous go together: several machines must find each other")
        if self.rendezvous is not None:
            host, _, port = self.rendezvous.rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
                raise ValueError(f"--rendezvous {self.rendezvous}: expected HOST:PORT, e.g. node0:29400")
        return self

    @model_validator(mode="after")
    def _adapter_options_have_an_adapter(self) -> Self:
        if self.lora_rank:
            if (self.save_optimizer or self.carry_optimizer) and not self.save_adapter:
                raise ValueError(
                    "--save-optimizer and --carry-optimizer of an adapter need --save-adapter: a merged adapter is not "
                    "trained further"
                )
            return self
        if self.adapter:
            raise ValueError("--adapter needs the rank that it was made with: give --lora-rank, e.g. 16")
        names = ("lora_target", "lora_dropout", "save_adapter", "load_in_4bit")
        given = [name for name in names if getattr(self, name)]
        if given:
            raise ValueError(f"{option_flag(given[0])} needs an adapter: give --lora-rank, e.g. 16")
        return self
