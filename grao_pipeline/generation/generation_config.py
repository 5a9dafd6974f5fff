"""What a model's generation_config.json says about sampling: used with `--use-generation-config`, else said."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from grao_pipeline.errors import InputError
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.json_text import read_json_file

SUPPLIED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""What the file can supply; every name is an option of `grao generate`."""
NEUTRAL = {
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_new_tokens": 0,
    "num_beams": 1,
    "penalty_alpha": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "guidance_scale": None,
}
"""Other fields of the file that change the distribution, with the value that changes nothing."""


def with_generation_config(options: GenerateOptions, directory: Path) -> GenerateOptions:
    """The options, with the values of the model's generation_config.json where `--use-generation-config` asks for them
    and they are not given.

    Raises:
        InputError: the file is not JSON, or has a value that the option cannot have.
    """
    if not options.use_generation_config:
        return options
    supplied = {name: value for name, value in _declared(directory).items() if name not in options.model_fields_set}
    try:
        return GenerateOptions.model_validate({**options.model_dump(exclude_unset=True), **supplied})
    except ValidationError as error:
        detail = error.errors()[0]
        raise InputError(
            f"{directory / 'generation_config.json'}: {detail['loc'][0]} is {detail['input']!r}: {detail['msg']}. "
            "Give the option, or correct the file."
        ) from None


def unused_note(options: GenerateOptions, directory: Path) -> str | None:
    """A line on what the model's generation_config.json asks for and is not done; None where there is nothing.

    Args:
        options: those in use, after `with_generation_config`.
    """
    unused = {name: value for name, value in _declared(directory).items() if getattr(options, name) != value}
    others = _others(directory)
    lines = []
    if unused:
        advice = "The given options apply." if options.use_generation_config else "Use --use-generation-config."
        lines.append(f"generation_config.json asks for {_listed(unused)}; not used. {advice}")
    if others:
        lines.append(f"generation_config.json asks for {_listed(others)}; not used. See --sampling-arg.")
    return " ".join(lines) or None


def _declared(directory: Path) -> dict[str, object]:
    config = _read(directory)
    values = {name: config[name] for name in SUPPLIED if config.get(name) is not None}
    return {name: 0 if (name, value) == ("top_k", -1) else value for name, value in values.items()}


def _others(directory: Path) -> dict[str, object]:
    config = _read(directory)
    return {name: config[name] for name, neutral in NEUTRAL.items() if config.get(name) not in (None, neutral)}


def _read(directory: Path) -> dict[str, object]:
    path = directory / "generation_config.json"
    if not path.is_file():
        return {}
    config = read_json_file(path)
    return config if isinstance(config, dict) else {}


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items())
