"""The other side of `benchmarks.train`: the same groups through TRL's and plain Hugging Face's training steps."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import make_tokenizer
from grao_pipeline.training.data.sequences import TrainingGroup, TrainingSequence


class TrlGrpo:
    """TRL's GRPOTrainer: its own `compute_loss` on the groups' sequences, prompts padded on the left.

    Args:
        rows: sequences per micro-batch.
        defaults: its default of gradient checkpointing; without it, what was found to be the fastest for this case.
        liger: with Liger's Triton kernels.
    """

    def __init__(self, model: Any, bf16: bool, rows: int, defaults: bool = False, liger: bool = False) -> None:
        from datasets import Dataset
        from transformers.integrations.liger import apply_liger_kernel
        from trl import GRPOConfig, GRPOTrainer

        self._scratch = tempfile.TemporaryDirectory()
        use_cpu = next(model.parameters()).device.type == "cpu"
        config = GRPOConfig(
            output_dir=self._scratch.name,
            use_cpu=use_cpu,
            bf16=bf16,
            gradient_checkpointing=defaults,
            use_liger_kernel=liger,
            per_device_train_batch_size=2,
            num_generations=2,
            report_to=[],
        )
        if defaults:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._trainer = GRPOTrainer(
            model=model,
            reward_funcs=_no_reward,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": "none"}] * 2),
            processing_class=make_tokenizer(Path(self._scratch.name), 512),
        )
        self._trainer.current_gradient_accumulation_steps = 1  # what `train()` would set
        self._model = self._trainer.model.train()
        if liger:  # what `train()` would do
            apply_liger_kernel(self._model, self._trainer.args.liger_kernel_config)
        self._rows = rows

    def backward(self, groups: Sequence[TrainingGroup]) -> None:
        sequences = [sequence for group in groups for sequence in group.sequences]
        total = sum(len(sequence.token_ids) for sequence in sequences)
        for start in range(0, len(sequences), self._rows):
            inputs = _padded(sequences[start : start + self._rows], next(self._model.parameters()).device)
            inputs["num_items_in_batch"] = torch.tensor(total)
            self._trainer.compute_loss(self._model, inputs).backward()


class PlainHuggingFace:
    """A loop as one writes it by hand: padded rows, `logits_to_keep`, log-softmax, the signed weighted mean."""

    def __init__(self, model: Any, bf16: bool, rows: int) -> None:
        self._model = model.train()
        self._bf16 = bf16
        self._rows = rows

    def backward(self, groups: Sequence[TrainingGroup]) -> None:
        sequences = [sequence for group in groups for sequence in group.sequences]
        device = next(self._model.parameters()).device
        for start in range(0, len(sequences), self._rows):
            inputs = _padded(sequences[start : start + self._rows], device)
            targets, mask = inputs["completion_ids"], inputs["completion_mask"]
            length = targets.shape[1]
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16):
                logits = self._model(
                    input_ids=torch.cat([inputs["prompt_ids"], targets], dim=1),
                    attention_mask=torch.cat([inputs["prompt_mask"], mask], dim=1),
                    logits_to_keep=length + 1,
                    use_cache=False,
                ).logits[:, :-1]
            logprobs = torch.log_softmax(logits.float(), dim=-1).gather(-1, targets[..., None])[..., 0]
            means = (logprobs * mask).sum(dim=1) / mask.sum(dim=1)
            (-(means * inputs["advantages"]).sum() / len(sequences)).backward()  # type: ignore[no-untyped-call]


def _padded(sequences: Sequence[TrainingSequence], device: torch.device) -> dict[str, Tensor]:
    prompts = [torch.tensor(sequence.prompt_token_ids) for sequence in sequences]
    completions = [torch.tensor(sequence.token_ids) for sequence in sequences]
    pad = torch.nn.utils.rnn.pad_sequence
    batch = {
        "prompt_ids": pad(prompts, batch_first=True, padding_side="left"),
        "prompt_mask": pad([torch.ones_like(ids) for ids in prompts], batch_first=True, padding_side="left"),
        "completion_ids": pad(completions, batch_first=True),
        "completion_mask": pad([torch.ones_like(ids) for ids in completions], batch_first=True),
        "advantages": torch.tensor([sequence.advantage for sequence in sequences]),
    }
    return {name: value.to(device) for name, value in batch.items()}


def _no_reward(completions: list[str], **_: Any) -> list[float]:
    return [0.0] * len(completions)
