"""Commands run in this process; and the tiny models and tables of `grao_pipeline.testing`, under short names."""

import json
from typing import Any

from click.testing import CliRunner, Result

from grao_pipeline.cli.parameters import command_line
from grao_pipeline.options import StageOptions
from grao_pipeline.pipeline import stage_named
from grao_pipeline.testing import CHAT_TEMPLATE, TEXTS, group_row, prompt_row, write_table
from grao_pipeline.testing import make_tiny_model as make_model
from grao_pipeline.testing import make_tiny_reward_model as make_reward_model
from grao_pipeline.testing import make_tiny_tokenizer as make_tokenizer

__all__ = [
    "CHAT_TEMPLATE",
    "TEXTS",
    "flags",
    "grao",
    "grao_json",
    "group_row",
    "make_model",
    "make_reward_model",
    "make_tokenizer",
    "prompt_row",
    "write_table",
]


def grao(*arguments: object) -> Result:
    """Run a command in this process."""
    from grao_pipeline.cli.main import main

    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="grao")


def grao_json(*arguments: object) -> dict[str, Any]:
    """Run a command that must succeed; its JSON summary."""
    result = grao(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def flags(stage: str, options: StageOptions) -> list[str]:
    """The flags that give these options to a stage's command."""
    return command_line(stage_named(stage), (), "out", options)[3:]
