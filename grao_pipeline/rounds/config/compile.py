"""A rounds file → a typed plan of everything that its rounds will run. See docs/rounds.md."""

from dataclasses import replace

from grao_pipeline.models.stored import is_url
from grao_pipeline.options import option_names
from grao_pipeline.parsing import shown
from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.keep import Keep
from grao_pipeline.rounds.config.keys import RoundsFile, RunKeys, loop_stages, read_rounds_file
from grao_pipeline.rounds.config.named_variants import named_variants
from grao_pipeline.rounds.config.resources import read_resources, refuse_unused
from grao_pipeline.rounds.config.run_plan import PromptsPlan, RunPlan
from grao_pipeline.rounds.config.sections import parse_section, refuse_unknown, source_of
from grao_pipeline.rounds.config.sweep import expand
from grao_pipeline.rounds.config.until import Until
from grao_pipeline.rounds.config.variables import in_round
from grao_pipeline.rounds.config.variant import compile_variant, stage_settings
from grao_pipeline.rounds.config.yaml_lines import Node
from grao_pipeline.storage.places import place_of

MOST_ROUNDS = 5000
"""Of all variants together: every task of them is compiled and looked up before the first one runs."""
PLACES = ("source", "train", "eval")
"""Keys of `prompts` that name data; the others are options of `grao prompts`."""


def load_plan(path: str) -> RunPlan:
    """Read and compile a rounds file. What it says of every round and variant is checked here.

    Raises:
        InputError: the file cannot be read or is not YAML.
        UsageError: an option is unknown, wrong or missing; the message has its line.
    """
    return compile_rounds(read_rounds_file(path))


def compile_rounds(file: RoundsFile) -> RunPlan:
    """The plan of a rounds file.

    Raises:
        UsageError: see `load_plan`.
    """
    root, keys, own_keys = file.root, file.keys, file.own_keys
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
