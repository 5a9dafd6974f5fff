"""The small files of a model directory: config, generation config, tokenizer, processors, code, licenses.

They are written once before the first step, into a directory that is deleted again, since transformers refuses to write
some of what it reads. What it does not write is copied from the base model.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.models.source import first_line
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CONFIG, GENERATION_CONFIG, CHAT_TEMPLATE = "config.json", "generation_config.json", "chat_template.jinja"
COPIED = (
    *("*processor*.json", "*feature_extractor*.json", "chat_template*.json", "additional_chat_templates"),
    *("*.py", "LICENSE*", "NOTICE*"),
    *("tokenizer*.json", "*.model", "vocab.*", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *("*.tiktoken", "tekken.json"),
)
"""Files of the base model that are copied where they are not written anyway."""


def write_companions(
    directory: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", base: Path
) -> None:
    """Write all files of a trained model but its weights.

    Args:
        model: the transformers model.
        tokenizer: with the chat template that the groups were sampled with.
        base: directory of the base model.
    """
    _write_config(directory, model, base)
    _write_generation_config(directory, model, base)
    _write_tokenizer(directory, tokenizer)
    for pattern in COPIED:
        for path in sorted(base.glob(pattern)):
            target = directory / path.name
            if path.is_dir() and not target.exists():
                shutil.copytree(path, target)
            elif path.is_file() and not target.exists():
                shutil.copyfile(path, target)


def rehearse(out: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", base: Path) -> None:
    """Write these files to a directory in `out`, and delete it again: what cannot be saved is found before the work.

    Raises:
        InputError: a file cannot be written.
        StageFailure: the disk is full.
    """
    directory = out / ".rehearsal.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_companions(directory, model, tokenizer, base)
    except OSError as error:
        raise StageFailure(f"Cannot write {out}: {error.strerror or error}. Nothing was trained.") from error
    except Exception as error:  # whatever transformers finds wrong with what it has loaded
        raise InputError(
            f"A trained {type(model).__name__} could not be saved: {first_line(error) or repr(error)} Nothing was "
            f"trained. Mend the files in {base}."
        ) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def save_weights(directory: str, model: "PreTrainedModel") -> None:
    """The weights of a model, without its other files: they cannot fail any more."""
    config = require("transformers").GenerationConfig()
    before, model.generation_config = getattr(model, "generation_config", None), config
    removed = _remove_generation_settings(model.config)
    try:
        model.save_pretrained(directory)
    finally:
        model.generation_config = before
        for name, value in removed.items():
            setattr(model.config, name, value)
    (Path(directory) / GENERATION_CONFIG).unlink(missing_ok=True)


def _write_config(directory: Path, model: "PreTrainedModel", base: Path) -> None:
    """Write config.json. Settings of sampling that the base's holds (older models) stay in it."""
    removed = _remove_generation_settings(model.config)
    try:
        model.config.save_pretrained(str(directory))
    finally:
        for name, value in removed.items():
            setattr(model.config, name, value)
    path = directory / CONFIG
    stored, written = (json.loads(place.read_text("utf-8")) for place in (base / CONFIG, path))
    lost = {name: stored[name] for name in _settings_of_sampling() if name in stored and name not in written}
    if lost:
        path.write_text(json.dumps(written | lost, indent=2, sort_keys=True) + "\n", "utf-8")


def _remove_generation_settings(config: "PreTrainedConfig") -> dict[str, object]:
    """Take the settings of sampling out of a config, which transformers reads and refuses to write; their values."""
    defaults = type(config)().to_dict() if not config.has_no_defaults_at_init else {}
    removed = {}
    for name in _settings_of_sampling():
        if name != "use_cache" and name not in defaults and vars(config).get(name) is not None:
            removed[name] = vars(config)[name]
            delattr(config, name)
    return removed


def _settings_of_sampling() -> list[str]:
    return [name for name in require("transformers").GenerationConfig().to_dict() if name != "transformers_version"]


def _write_generation_config(directory: Path, model: "PreTrainedModel", base: Path) -> None:
    """Copy the base's generation_config.json as it is: some that transformers reads it refuses to write."""
    if (base / GENERATION_CONFIG).is_file():
        shutil.copyfile(base / GENERATION_CONFIG, directory / GENERATION_CONFIG)
        return
    config = getattr(model, "generation_config", None)
    if config is None:
        return
    try:
        config.save_pretrained(str(directory))
    except ValueError:  # derived from a config.json with settings that contradict each other
        tokens = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        require("transformers").GenerationConfig(**tokens).save_pretrained(str(directory))


def _write_tokenizer(directory: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Write the tokenizer's files; where it cannot be written, its chat template alone: the rest is copied."""
    attempt = directory / ".tokenizer.tmp"
    try:
        tokenizer.save_pretrained(str(attempt))
    except OSError:
        raise
    except Exception:  # whatever transformers finds wrong with a tokenizer that it has loaded
        shutil.rmtree(attempt, ignore_errors=True)
        if isinstance(tokenizer.chat_template, str):
            (directory / CHAT_TEMPLATE).write_text(tokenizer.chat_template, "utf-8")
        return
    for path in attempt.iterdir():
        path.replace(directory / path.name)
    attempt.rmdir()
