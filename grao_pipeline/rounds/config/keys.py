"""What a rounds file says, read but not compiled: enough to know where its stages will run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from grao_pipeline.options import StageOptions, option_names
from grao_pipeline.pipeline import stages
from grao_pipeline.presets import Preset
from grao_pipeline.rounds.config.sections import parse_section, refuse_unknown
from grao_pipeline.rounds.config.variables import in_round, read_variables, substitute
from grao_pipeline.rounds.config.yaml_lines import Node, read_yaml
from grao_pipeline.stage import Stage

LOCK = "lock"
"""A file of a run's output directory, from the first moment."""
OTHER_SECTIONS = ("variables", "overrides", "sweep", "variants")
"""Sections that are not of one stage."""


class RunKeys(StageOptions):
    """The keys of a rounds file that are not sections of stages."""

    output: str = Field(description="Directory or URL of the run: links to the results.")
    model: str = Field(description="The base model: a directory or hub id.")
    rounds: int = Field(1, ge=1, le=1000, description="Number of rounds.")
    store: str | None = Field(None, description="Directory or URL of the stages' outputs; OUTPUT/store by default.")
    preset: Preset = Field("paper", description="Named choice of the method, for advantages and train.")
    executor: Literal["resident", "local", "ray"] = Field("resident", description="Where the stages run.")
    resources: dict[str, Any] = Field(
        default_factory=dict, description="Of each stage: processes; with Ray what it reserves."
    )
    prompts: dict[str, Any] = Field(description="source: a dataset, or train: and eval: prompts tables; and options.")
    until: dict[str, Any] | None = Field(
        None, description="Stop before the last round: at a metric's value, or when it rises no more."
    )
    keep: dict[str, Any] | None = Field(
        None, description="Delete weights that no later round needs, as rounds are done."
    )
    overlap: int = Field(
        0,
        ge=0,
        le=1,
        description="1: sample the next round from the model that this round starts from, while it trains.",
    )
    reuse_rounds: int = Field(1, ge=1, description="Train on the groups of this many rounds, the newest included.")
    pool: bool = Field(False, description="Take a prompt's statistics over these rounds' groups, too.")


@dataclass(frozen=True)
class RoundsFile:
    """A rounds file whose variables have their values."""

    root: Node
    keys: RunKeys
    own_keys: Mapping[str, Node]
    """The nodes of `keys`, by name."""


def loop_stages() -> list[Stage]:
    """The stages with a section in the file; `prompts` is read apart."""
    return [stage for stage in stages() if stage.loop is not None and stage.name != "prompts"]


def read_rounds_file(path: str) -> RoundsFile:
    """Read a rounds file, and check the keys that are not sections of stages.

    Raises:
        InputError: the file cannot be read or is not YAML.
        UsageError: a key is unknown, wrong or missing; the message has its line.
    """
    root = read_yaml(path)
    if root.value is None:
        raise root.error("expected keys such as output, model, prompts; the file is empty.")
    sections = [*OTHER_SECTIONS, *(stage.name for stage in loop_stages())]
    refuse_unknown(root, [*option_names(RunKeys), *sections])
    root = substitute(root, read_variables(root.value.get("variables", Node(None, root.where))))
    own_keys = {key: node for key, node in root.value.items() if key not in sections}
    return RoundsFile(root, parse_section(RunKeys, in_round(Node(own_keys, root.where), None), ""), own_keys)
