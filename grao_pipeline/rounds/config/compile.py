"""The rounds' YAML: a few keys of its own, and one section per stage with that stage's options. See docs/rounds.md."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from grao_pipeline.options import StageOptions, option_names
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.rounds.config.sections import parse_section, refuse_unknown
from grao_pipeline.rounds.config.sweep import expand
from grao_pipeline.rounds.config.variables import in_round, read_variables, substitute
from grao_pipeline.rounds.config.variant import Variant
from grao_pipeline.rounds.config.yaml_lines import Node, read_yaml
from grao_pipeline.rounds.executors.base import read_resources


class _Keys(StageOptions):
    """The YAML's own keys."""

    output: str = Field(description="Directory of the run: links to every round's results.")
    model: str = Field(description="The base model: a directory or hub id.")
    rounds: int = Field(1, ge=1, description="Number of rounds.")
    store: str | None = Field(None, description="Directory of the stages' outputs; OUTPUT/store by default.")
    executor: Literal["local", "ray"] = Field("local", description="Where the stages run.")
    resources: dict[str, Any] = Field(default_factory=dict, description="Of each stage, for executor: ray.")
    prompts: dict[str, Any] = Field(description="source: a dataset, or train: and eval: prompts tables; and options.")
    reuse_rounds: int = Field(1, ge=1, description="Train on the groups of so many rounds, the newest included.")
    pool: bool = Field(False, description="Take a prompt's statistics over these rounds' groups, too.")


SECTIONS = ("variables", "generate", "score", "advantages", "train", "evaluate", "curriculum", "overrides", "sweep")
"""The keys that hold options of stages, which are checked one by one."""


class RoundsConfig:
    """A validated rounds configuration.

    Raises:
        UsageError: an option is unknown, wrong or missing; the message has its line.
    """

    def __init__(self, root: Node) -> None:
        if root.value is None:
            raise root.error("expected keys such as output, model, prompts; the file is empty.")
        refuse_unknown(root, [*option_names(_Keys), *SECTIONS])
        variables = read_variables(root.value.get("variables", Node(None, root.where)))
        root = substitute(root, variables)
        own = {key: node for key, node in root.value.items() if key not in SECTIONS}
        keys = parse_section(_Keys, in_round(Node(own, root.where), None), "")
        self.output = Path(keys.output)
        self.store = Path(keys.store) if keys.store else self.output / "store"
        self.model = keys.model
        self.rounds = keys.rounds
        self.reuse_rounds = keys.reuse_rounds
        self.executor = keys.executor
        self.resources = read_resources(in_round(own.get("resources", Node({}, root.where)), None), keys.executor)
        self.pool = keys.pool
        if self.pool and self.reuse_rounds == 1:
            raise own["pool"].error("pool: there are no groups to pool; it needs reuse_rounds: 2 or more.")
        self._read_prompts(in_round(own["prompts"], None))
        self.variants = [Variant(name, each, self.rounds) for name, each in expand(root)]

    def _read_prompts(self, section: Node) -> None:
        options = dict(section.value)
        taken = {name: options.pop(name).plain() for name in ("source", "train", "eval") if name in options}
        self.prompts_source: Any = taken.get("source")
        self.train_prompts: Any = taken.get("train")
        self.eval_prompts = taken.get("eval")
        if (self.prompts_source is None) == (self.train_prompts is None):
            raise section.error("prompts: give either 'source' (a dataset) or 'train' (a prompts table).")
        for name, value in taken.items():
            if value is not None and not isinstance(value, str):
                raise section.find([name]).error(f"prompts: {name} = {value!r}: expected a path.")
        self.prompts = parse_section(PromptsOptions, Node(options, section.where), "prompts")


def load_config(path: str) -> RoundsConfig:
    """Read a rounds configuration.

    Raises:
        InputError: the file cannot be read or is not YAML.
        UsageError: it is not a valid configuration.
    """
    return RoundsConfig(read_yaml(path))
