"""The JSON schema of a rounds file, generated from the options models, for editors."""

from typing import Any

from grao_pipeline.options import StageOptions
from grao_pipeline.pipeline import stage_named
from grao_pipeline.rounds.config.keep import Keep
from grao_pipeline.rounds.config.keys import RunKeys, loop_stages
from grao_pipeline.rounds.config.schedules import SCHEDULE as SCHEDULE_KEY
from grao_pipeline.rounds.config.schedules import SHAPES, TOWARDS, WEIGHT, Towards
from grao_pipeline.rounds.config.until import Until
from grao_pipeline.rounds.executors.base import StageResources
from grao_pipeline.stage import Stage

Schema = dict[str, Any]
VARIABLE: Schema = {"type": "string", "pattern": r"\$\{.*\}"}
"""A value that is put together from variables."""
SCHEDULE: Schema = {
    "type": "object",
    "properties": {"schedule": {"enum": list(SHAPES)}, "from": {"type": "number"}, "to": {"type": "number"}},
    "required": ["schedule", "from"],
    "additionalProperties": False,
}
VARIABLE_REF: Schema = {"$ref": "#/$defs/variable"}
COURSES: tuple[Schema, ...] = ({"$ref": "#/$defs/schedule"}, {"$ref": "#/$defs/towards"})
NAME: Schema = {"type": "string", "description": "Names the entry."}


def rounds_schema() -> Schema:
    """JSON schema (draft 2020-12) of the rounds' YAML."""
    properties = _properties(RunKeys, {"prompts", "resources", "until", "keep"})
    properties["prompts"] = _prompts()
    properties["resources"] = _section({stage.name: _options(StageResources) for stage in loop_stages()})
    properties["until"], properties["keep"] = _options(Until), _options(Keep)
    properties["variables"] = {"type": "object", "description": "Names with their values, for ${name}."}
    for stage in loop_stages():
        properties[stage.name] = _nullable(_stage(stage))
    changeable = [stage for stage in loop_stages() if stage.per_round]
    properties["overrides"] = {
        "type": "object",
        "description": "Options of single rounds: {2: {train: {epochs: 2}}}.",
        "patternProperties": {r"^\d+$": _section({stage.name: _options_of(stage) for stage in changeable})},
    }
    properties["sweep"] = {
        "type": "object",
        "description": "Alternatives: a variant for every combination.",
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    properties["variants"] = {
        "type": "object",
        "description": "Methods by name, each with what differs: {sft: {train: {objective: sft}}}.",
        "minProperties": 1,
        "additionalProperties": _section(
            {"preset": properties["preset"], **{stage.name: _options_of(stage) for stage in changeable}}
        ),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "grao rounds",
        "$defs": {"variable": VARIABLE, "schedule": SCHEDULE, "towards": _towards()},
        "type": "object",
        "properties": properties,
        "required": ["output", "model", "prompts", "score"],
        "additionalProperties": False,
    }


def _stage(stage: Stage) -> Schema:
    options = _options_of(stage)
    if stage.repeated:
        weight = _or_variable({"type": "number", "description": "In the combined reward."})
        options["properties"] |= {WEIGHT: _per_round(weight)} if stage.is_weighted else {}
        options["properties"] |= {"name": NAME} if stage.is_named else {}
        return {"description": stage.summary, "anyOf": [options, {"type": "array", "items": options, "minItems": 1}]}
    if stage.name == "evaluate":
        options["properties"]["generate"] = _options_of(stage_named("generate"))
    return {"description": stage.summary, **options}


def _options_of(stage: Stage) -> Schema:
    properties = _properties(stage.options_model, set(stage.decided_by_loop))
    if stage.knows_round:
        properties = {name: _per_round(schema) for name, schema in properties.items()}
    return _section(properties)


def _prompts() -> Schema:
    places = {
        "source": "A dataset: a file, a directory or a hub id.",
        "train": "A prompts table to train on.",
        "eval": "A prompts table to evaluate on.",
    }
    named = {name: {"type": "string", "description": text} for name, text in places.items()}
    return _section({**named, **_properties(stage_named("prompts").options_model, set())})


def _properties(model: type[StageOptions], hidden: set[str]) -> dict[str, Schema]:
    """Option → its schema, without what pydantic adds for itself."""
    schema = model.model_json_schema(by_alias=True)
    properties = {}
    for name, value in schema["properties"].items():
        if name not in hidden:
            described = {
                key: part for key, part in value.items() if key not in ("title", "content", "plugin", "metavar")
            }
            properties[name] = _or_variable(described)
    return properties


def _options(model: type[StageOptions]) -> Schema:
    return _section(_properties(model, set()))


def _section(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _nullable(schema: Schema) -> Schema:
    """An empty section means the defaults."""
    return {"anyOf": [schema, {"type": "null"}]}


def _or_variable(schema: Schema) -> Schema:
    return _any_of(schema, VARIABLE_REF)


def _per_round(schema: Schema) -> Schema:
    """Also a value per round, or a schedule."""
    return _any_of(schema, {"type": "array"}, *COURSES)


def _towards() -> Schema:
    options = _options(Towards)
    options["properties"][SCHEDULE_KEY] = {"const": TOWARDS}
    return {**options, "required": [SCHEDULE_KEY, "metric", "target", "gain", "from"]}


def _any_of(schema: Schema, *others: Schema) -> Schema:
    """A schema that allows more, with its description and default at the top."""
    notes: Schema = {key: part for key, part in schema.items() if key in ("description", "default")}
    rest = {key: part for key, part in schema.items() if key not in notes}
    first = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**notes, "anyOf": [*first, *others]}
