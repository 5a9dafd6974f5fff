"""Content hashes of rows, of model directories and of a stage's output.

The same fingerprint means the same content, which is reused. Each is the first 32 hex digits of a SHA-256.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grao_pipeline.checksums import file_checksum
from grao_pipeline.contract import CONTRACT_VERSION
from grao_pipeline.errors import InputError
from grao_pipeline.messages import Message, plain_message

DIGITS = 32
_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
# Written by peft and transformers for provenance; they change although the computed function stays the same.
VOLATILE_ADAPTER_KEYS = {"base_model_name_or_path", "revision", "inference_mode", "peft_version"}
VOLATILE_CONFIG_KEYS = {"_name_or_path", "transformers_version", "use_cache"}


def fingerprint(value: object) -> str:
    """The hash of a value that JSON can hold, independent of the order of keys."""
    return hashlib.sha256(_JSON.encode(value).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def prompt_fingerprint(
    messages: Sequence[Message],
    reference: str | None,
    rejected: str | None,
    metadata: str,
    tools: str | None = None,
    reference_reasoning: str | None = None,
) -> str:
    """The `prompt_id` of a row of the prompts table. What a row of version 1 cannot hold counts only where it is."""
    turns = [message_key(message) for message in messages]
    added = {"tools": tools, "reference_reasoning": reference_reasoning}
    added = {name: value for name, value in added.items() if value is not None}
    return fingerprint([turns, reference, rejected, metadata, *([added] if added else [])])


def message_key(message: Message) -> list[object]:
    """What identifies a message: `[role, content]`, and its other fields where it has some."""
    others = {name: value for name, value in plain_message(message).items() if name not in ("role", "content")}
    return [message["role"], message["content"], *([others] if others else [])]


def group_fingerprint(prompt_id: str, policy: str, completion_token_ids: Sequence[Sequence[int]]) -> str:
    """The `group_id` of a row of the groups table."""
    return fingerprint([prompt_id, policy, [list(ids) for ids in completion_token_ids]])


def stage_fingerprint(stage: str, options: Mapping[str, object], inputs: Mapping[str, object]) -> str:
    """The fingerprint of a stage's output.

    Args:
        options: those that shape the content; never batch sizes, devices or worker counts.
        inputs: the fingerprints of the tables and models that the stage reads.
    """
    return fingerprint({"contract": CONTRACT_VERSION, "stage": stage, "options": options, "inputs": inputs})


def model_fingerprint(directory: str | Path) -> str:
    """The fingerprint of the function that a Hugging Face model directory computes: its weights and config.

    A copy of the directory has the same fingerprint; the tokenizer and time stamps have no influence.

    Raises:
        InputError: the directory has no readable config.json or no weights.
    """
    root = Path(directory)
    config_path = root / "config.json"
    if not config_path.is_file():
        adapter = (root / "adapter_config.json").is_file()
        hint = (
            " It holds a LoRA adapter: name its base model with --model, and give it with --adapter." if adapter else ""
        )
        raise InputError(f"{root} is not a model directory: it has no config.json.{hint}")
    weights = sorted(root.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{root} has no weights (*.safetensors).")
    stable = {key: value for key, value in read_config(config_path).items() if key not in VOLATILE_CONFIG_KEYS}
    return fingerprint([stable, [file_checksum(path) for path in weights]])


def read_config(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model directory. A number that is not finite, such as the largest time step of
    some architectures, is its text: what is hashed is JSON.

    Raises:
        InputError: the file cannot be read, or holds no JSON object.
    """
    try:
        config = json.loads(path.read_text("utf-8"), parse_constant=str, parse_float=_number)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}).") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is not a JSON object.")
    return config


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def adapter_fingerprint(directory: str | Path) -> str:
    """The fingerprint of a LoRA adapter as peft saves it; the path of its base model has no influence.

    Raises:
        InputError: the directory is not a LoRA adapter.
    """
    config, weights = (Path(directory) / name for name in ("adapter_config.json", "adapter_model.safetensors"))
    if not (config.is_file() and weights.is_file()):
        raise InputError(f"{directory} is not a LoRA adapter: it needs {config.name} and {weights.name}.")
    stable = {key: value for key, value in read_config(config).items() if key not in VOLATILE_ADAPTER_KEYS}
    return fingerprint([stable, file_checksum(weights)])


def tokenizer_fingerprint(directory: str | Path) -> str:
    """The fingerprint of a tokenizer's files, its chat template included."""
    names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt")
    paths = [Path(directory) / name for name in (*names, "chat_template.jinja")]
    return fingerprint([[path.name, file_checksum(path)] for path in paths if path.is_file()])
