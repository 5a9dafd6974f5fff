"""A rounds file → a typed plan of everything that its rounds will run. See docs/rounds.md."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from grao_pipeline.models.stored import is_url
from grao_pipeline.options import StageOptions, option_names
from grao_pipeline.parsing import shown
from grao_pipeline.pipeline import stage_named, stages
from grao_pipeline.presets import Preset
from grao_pipeline.rounds.config.keep import Keep
from grao_pipeline.rounds.config.named_variants import named_variants
from grao_pipeline.rounds.config.resources import read_resources, refuse_unused
from grao_pipeline.rounds.config.run_plan import PromptsPlan, RunPlan
from grao_pipeline.rounds.config.sections import parse_section, refuse_unknown, source_of
from grao_pipeline.rounds.config.sweep import expand
from grao_pipeline.rounds.config.until import Until
from grao_pipeline.rounds.config.variables import in_round, read_variables, substitute
from grao_pipeline.rounds.config.variant import compile_variant, stage_settings
from grao_pipeline.rounds.config.yaml_lines import Node, read_yaml
from grao_pipeline.stage import Stage
from grao_pipeline.storage.places import place_of


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


MOST_ROUNDS = 5000
"""Of all variants together: every task of them is compiled and looked up before the first one runs."""
OTHER_SECTIONS = ("variables", "overrides", "sweep", "variants")
"""Sections that are not of one stage."""
PLACES = ("source", "train", "eval")
"""Keys of `prompts` that name data; the others are options of `grao prompts`."""


def loop_stages() -> list[Stage]:
    """The stages with a section in the file; `prompts` is read apart."""
    return [stage for stage in stages() if stage.loop is not None and stage.name != "prompts"]


def load_plan(path: str) -> RunPlan:
    """Read and compile a rounds file. What it says of every round and variant is checked here.

    Raises:
        InputError: the file cannot be read or is not YAML.
        UsageError: an option is unknown, wrong or missing; the message has its line.
    """
    root = read_yaml(path)
    if root.value is None:
        raise root.error("expected keys such as output, model, prompts; the file is empty.")
    sections = [*OTHER_SECTIONS, *(stage.name for stage in loop_stages())]
    refuse_unknown(root, [*option_names(RunKeys), *sections])
    root = substitute(root, read_variables(root.value.get("variables", Node(None, root.where))))
    own_keys = {key: node for key, node in root.value.items() if key not in sections}
    keys = parse_section(RunKeys, in_round(Node(own_keys, root.where), None), "")
    if keys.pool and keys.reuse_rounds == 1:
        raise own_keys["pool"].error("pool: there are no groups to pool; it needs reuse_rounds: 2 or more.")
    if all(name in root.value for name in ("curriculum", "minibatch")):
        raise root.value["minibatch"].error(
            "minibatch: curriculum chooses each round's prompts already; give one of them."
        )
    if not any(name in root.value for name in ("curriculum", "minibatch")):
        _refuse_replacing(root.value.get("resample", Node(None, root.where)))
    until = _until(in_round(own_keys["until"], None), keys) if keys.until is not None else None
    listed = named_variants(root) if "variants" in root.value else expand(root)
    expanded = [(name, _with_preset(changed)) for name, changed in listed]
    if len(expanded) * keys.rounds > MOST_ROUNDS:
        kind = "variants" if "variants" in root.value else "sweep"
        message = f"{kind}: {len(expanded)} variants of {keys.rounds} rounds are more than {MOST_ROUNDS} rounds."
        raise root.value.get(kind, root).error(message)
    section = in_round(own_keys.get("resources", Node({}, root.where)), None)
    resources = read_resources(section, root, keys.executor)
    variants = [compile_variant(name, changed, keys.rounds, loop_stages()) for name, changed in expanded]
    refuse_unused(resources, section, variants)
    return RunPlan(
        output=place_of(keys.output),
        store=place_of(keys.store) if keys.store else place_of(keys.output) / "store",
        model=keys.model,
        reuse_rounds=keys.reuse_rounds,
        pool=keys.pool,
        executor=keys.executor,
        overlap=keys.overlap > 0,
        keep=_keep(in_round(own_keys["keep"], None), keys.store or keys.output) if keys.keep is not None else None,
        until=until,
        resources=resources,
        prompts=_prompts(in_round(own_keys["prompts"], None)),
        variants=variants,
        source=source_of(root, ""),
    )


def _refuse_replacing(section: Node) -> None:
    replacing = section.entries("resample: expected options").get("replace")
    if replacing is not None and replacing.value is not False:
        raise replacing.error(
            "resample.replace: a round takes all prompts, so that there are no others. Give minibatch or curriculum."
        )


def _keep(section: Node, store: str) -> Keep:
    section.entries("keep: expected e.g. {models: best+last}")
    if is_url(store):
        raise section.error(f"keep: {store} is not a local directory: models are pruned on a local disk.")
    return parse_section(Keep, section, "keep")


def _until(section: Node, keys: RunKeys) -> Until:
    section.entries("until: expected e.g. {metric: nag_net, at_least: 0.5}")
    if not keys.prompts.get("eval") and not keys.prompts.get("eval_fraction"):
        raise section.error(
            "until: no model is evaluated without held-out prompts. Name a table as prompts.eval, or give "
            "prompts.eval_fraction."
        )
    return parse_section(Until, section, "until")


def _with_preset(root: Node) -> Node:
    """The file with its preset in the section of every stage that has presets, where that section names none."""
    preset = root.value.get("preset")
    stages_with_presets = [stage.name for stage in loop_stages() if "preset" in stage.options_model.model_fields]
    sections = {name: root.value.get(name, Node({}, root.where)) for name in stages_with_presets}
    if preset is None:
        return root
    return root.updated(
        {
            name: section if "preset" in section.entries(name) else section.updated({"preset": preset})
            for name, section in sections.items()
        }
    )


def _prompts(section: Node) -> PromptsPlan:
    refuse_unknown(section, [*PLACES, *option_names(stage_named("prompts").options_model)], "prompts")
    places = {name: section.value[name].plain() for name in PLACES if name in section.value}
    if (places.get("source") is None) == (places.get("train") is None):
        raise section.error("prompts: give either 'source' (a dataset) or 'train' (a prompts table).")
    for name, value in places.items():
        if value is not None and not isinstance(value, str):
            raise section.find([name]).error(f"prompts.{name}: expected a path, found {shown(value)}.")
    rest = Node({key: node for key, node in section.value.items() if key not in PLACES}, section.where)
    settings = stage_settings(stage_named("prompts"), rest, {})
    settings = replace(settings, source=source_of(section, "prompts"))  # the lines of the places, too
    return PromptsPlan(places.get("source"), places.get("train"), places.get("eval"), settings)
