"""Model directories: where a model is, what it is, and what its tokenizer says. Loads no weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import model_fingerprint, tokenizer_fingerprint
from grao_pipeline.plugins import require


@dataclass(frozen=True)
class ModelSource:
    """A model on local disk and the fingerprints of its weights and tokenizer."""

    directory: Path
    fingerprint: str
    tokenizer: str


def locate_model(model: str) -> ModelSource:
    """Find a model: a local directory, or a hub id that is downloaded (once) into the hub's cache.

    Raises:
        InputError: there is neither; the message says which was looked for.
    """
    directory = Path(model) if Path(model).is_dir() else _download(model)
    return ModelSource(directory, model_fingerprint(directory), tokenizer_fingerprint(directory))


def load_tokenizer(source: ModelSource) -> Any:
    """The model's tokenizer.

    Raises:
        InputError: the directory holds no usable tokenizer.
    """
    transformers = require("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(str(source.directory))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{source.directory} has no usable tokenizer: {_first_line(error)}") from error


def load_config(source: ModelSource) -> Any:
    """The model's transformers config.

    Raises:
        InputError: config.json is not one that transformers knows.
    """
    transformers = require("transformers")
    try:
        return transformers.AutoConfig.from_pretrained(str(source.directory))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{source.directory}/config.json is not usable: {_first_line(error)}") from error


def _download(model: str) -> Path:
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).exists():
        raise InputError(f"Model {model!r}: there is no such directory.")
    hub = require("huggingface_hub")
    errors = require("huggingface_hub.errors")
    patterns = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(hub.snapshot_download(model, allow_patterns=patterns))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        raise InputError(
            f"Model {model!r} is neither a local directory nor a model that the hub gives: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else repr(error)
