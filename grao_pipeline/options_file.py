"""Options in a JSON file: for `--options FILE` of people, and for the processes that the rounds start."""

import json
from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.json_text import read_json_file
from grao_pipeline.options import OptionSource, StageOptions, YamlSection
from grao_pipeline.storage.directory import Directory


def write_options_file(path: Path, options: StageOptions, source: YamlSection) -> None:
    """Write options for `grao STAGE … --options FILE`, with where they were written for messages about them.

    Raises:
        InputError: the file cannot be written.
    """
    value = {
        "$section": source.section,
        "$where": source.where,
        "$lines": dict(source.lines),
        **options.given(),
    }
    Directory(path.parent).write(path.name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_options_file(path: Path) -> tuple[dict[str, object], OptionSource]:
    """The options of a JSON file and where they were written.

    A file is one object of options by the names that YAML has, e.g. `{"samples": 8, "max_new_tokens": 512}`. The keys
    `$section`, `$where` and `$lines` are those of `write_options_file`.

    Raises:
        InputError: the file cannot be read, or is not one JSON object.
    """
    value = read_json_file(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected one JSON object of options, found {type(value).__name__}.")
    section, where, lines = (value.pop(key, None) for key in ("$section", "$where", "$lines"))
    return value, YamlSection(section or "", where or str(path), lines or {})
