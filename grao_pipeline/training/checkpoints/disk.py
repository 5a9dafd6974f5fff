"""Does what a training writes fit on the disk, and what to say where it does not."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.training.model.policy import Policy
from grao_pipeline.training.options import TrainOptions

GIB = 1 << 30
MOMENT_BYTES = {"adamw": 8, "adamw-8bit": 2, "paged-adamw-8bit": 2}
"""Bytes of the optimizer's two moments per trained parameter."""
SIGNS_OF_TORCH = ("PytorchStreamWriter", "inline_container", "iostream")
"""Parts of the messages of torch where a file cannot be written; none of them says why."""
SIGNS_OF_A_FAILED_WRITE = (*SIGNS_OF_TORCH, "No space left", "os error")
"""The same with those of safetensors."""


@dataclass(frozen=True)
class DiskNeed:
    """Sizes in bytes of what a training writes.

    Attributes:
        model: the trained model or adapter, with its optimizer's state where that is saved, without its small files.
        checkpoint: one checkpoint.
        peak: the most that lies on the disk at once: the oldest of `--keep-checkpoints` is deleted after the next one
            is written, the last ones after the model is.
    """

    model: int
    checkpoint: int
    peak: int

    @staticmethod
    def of(policy: Policy, options: TrainOptions, saved_bytes: int, num_steps: int) -> "DiskNeed":
        """Args:
        saved_bytes: bytes of a saved weight of the model.
        num_steps: of the whole training.
        """
        trained = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
        in_adapter = sum(value.numel() for name, value in policy.named_parameters() if "lora_" in name)
        whole = sum(getattr(value, "quant_state", value).shape.numel() for value in policy.parameters()) - in_adapter
        model = 4 * in_adapter if options.save_adapter else whole * saved_bytes
        checkpoint = trained * (4 + MOMENT_BYTES[options.optimizer])
        if options.save_optimizer:  # the weights, too, where the model's are rounded
            is_rounded = not options.save_adapter and saved_bytes < 4
            model += trained * (MOMENT_BYTES[options.optimizer] + 4 * is_rounded)
        saves = (num_steps - 1) // options.checkpoint_steps if options.checkpoint_steps else 0
        at_the_end = min(saves, options.keep_checkpoints)
        peak = max(checkpoint * min(saves, options.keep_checkpoints + 1), model + checkpoint * at_the_end)
        return DiskNeed(model, checkpoint, peak)


def check_space(out: Path, need: DiskNeed) -> None:
    """Refuse a training whose results would not fit on the disk, before its first step.

    Raises:
        InputError: there is not enough space.
    """
    there = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    free = shutil.disk_usage(out).free
    if need.peak > free + there:
        checkpoints = f", and checkpoints of {_size(need.checkpoint)}" if need.peak > need.model else ""
        raise InputError(
            f"{out}: the disk has {_size(free)} free; this training writes up to {_size(need.peak)}: a model of "
            f"{_size(need.model)}{checkpoints}. Free space, choose an OUT on another disk, or write less: "
            "--checkpoint-steps 0, --lora-rank 16 --save-adapter."
        )


@contextmanager
def write_errors_as_failure(place: Path, remedy: str) -> Iterator[None]:
    """Turn an error of the disk in this block into a StageFailure.

    Args:
        place: what is written.
        remedy: sentences on what is lost and what to do.

    Raises:
        StageFailure: the disk is full, or cannot be written.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, CheckpointException) as error:
        reason = _reason(error, place)
        if reason is None:
            raise
        raise StageFailure(f"Cannot write {place}: {reason}. {remedy}") from error


def _reason(error: BaseException, place: Path) -> str | None:
    """Why a write failed, None where the error is about something else."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError):
        return error.strerror or str(error)
    message = str(error)
    if not isinstance(error, SafetensorError) and not any(sign in message for sign in SIGNS_OF_A_FAILED_WRITE):
        return None
    if any(sign in message for sign in SIGNS_OF_TORCH):
        message = "torch could not write all of it; there may be a quota, or a limit on the size of files (ulimit -f)"
    return _full_disk(place) or message.splitlines()[0]


def _full_disk(place: Path) -> str | None:
    """torch does not say why a write failed: `No space left …` where that is so."""
    existing = next((path for path in (place, *place.parents) if path.exists()), Path("."))
    free = shutil.disk_usage(existing).free
    return f"{os.strerror(errno.ENOSPC)} ({_size(free)} free)" if free < 1 << 24 else None


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.1f} MiB"
