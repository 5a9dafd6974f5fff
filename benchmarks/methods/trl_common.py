"""Settings of both of TRL's trainers: the shared optimizer, and no output."""

from pathlib import Path
from typing import Any

import datasets
from transformers import AutoTokenizer, PrinterCallback

from benchmarks.methods.settings import MAX_GRAD_NORM, WEIGHT_DECAY, Run


def arguments(run: Run, scratch: Path) -> dict[str, Any]:
    """AdamW at a constant rate in float32 on the CPU; the moments' decay rates are the defaults on both sides."""
    datasets.disable_progress_bars()
    return {
        "output_dir": str(scratch / "trl"),
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "seed": run.seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "float32"},
        "report_to": [],
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def load_tokenizer(model: Path) -> Any:
    """The tokenizer, padding on the left as generation needs."""
    return AutoTokenizer.from_pretrained(model, padding_side="left")


def prompt_text(tokenizer: Any, prompt: str) -> str:
    """The prompt as the model reads it, so that a trainer adds nothing."""
    chat = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))


def train_silently(trainer: Any) -> None:
    """Train without the report that a trainer prints at its end."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
