"""`json-schema`: 1 where the completion is JSON that is valid under a schema, else 0."""

import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self, TypedDict

from pydantic import model_validator

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.errors import UsageError
from grao_pipeline.json_text import read_json_file
from grao_pipeline.plugins import require
from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime
from grao_pipeline.scoring.rewards.common import readable
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer
from grao_pipeline.scoring.rewards.fenced_blocks import fenced_blocks
from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

SECONDS_PER_CHECK = 5.0
MEMORY_MIB = 1024


class Outcome(TypedDict):
    """What a check says, as JSON."""

    valid: bool | None
    """None: the schema itself is wrong."""
    problem: str | None
    """None: the completion is valid."""


class JsonSchema(Reward):
    """1 if the completion's JSON is valid under a JSON schema, else 0.

    The JSON is the whole completion, or else its last ```` ```json ```` block (or block without a language). It is
    validated by the `jsonschema` package, under the draft that the schema names, or 2020-12. As the standard
    recommends, `format` is not checked.

    1: valid. 0: invalid, or not JSON (`NaN` is not JSON); the detail has the first violation.
    null + `error`: the schema is missing, invalid, or refers to another document (a `$ref` is followed only inside the
    schema and to the drafts' schemas, never fetched), or a check exceeded 5 s of CPU time (a `pattern` may never end).

    Raises:
        UsageError: both arguments are given, or the file does not hold a schema.
        InputError: the file cannot be read.
        MissingDependency: jsonschema is not installed.
    """

    class Arguments(PluginArguments):
        schema_file: str | None = argument(None, "JSON file with one schema for all completions.", alias="schema")
        field: str = argument("schema", "Metadata key of the schema, which is an object or JSON text.")

        @model_validator(mode="after")
        def _one_source(self) -> Self:
            if self.schema_file is not None and "field" in self.model_fields_set:
                raise ValueError("give schema=FILE or field=NAME, not both")
            return self

    verifies = True

    def __init__(self, arguments: Arguments, runtime: RewardRuntime) -> None:
        super().__init__(arguments, runtime)
        self._field = arguments.field
        self._schema = None if arguments.schema_file is None else _read_schema(arguments.schema_file)
        self._checks = LimitedCalls(f"{__name__}:check", 1, SECONDS_PER_CHECK, MEMORY_MIB)
        try:
            self._version = importlib.metadata.version("jsonschema")
        except importlib.metadata.PackageNotFoundError:
            require("jsonschema")

    def identity(self) -> Mapping[str, object]:
        source = {"field": self._field} if self._schema is None else {"schema": self._schema}
        return {**source, "jsonschema": self._version, "version": 2}

    def fields(self) -> Sequence[str]:
        return (self._field,) if self._schema is None else ()

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        schemas = [self._schema_for(candidate) for candidate in candidates]
        checks = self._checks.map(
            {"schema": schema, "completion": candidate.completion}
            for candidate, schema in zip(candidates, schemas, strict=True)
            if schema is not None
        )
        for schema in schemas:
            if schema is None:
                yield NoExpectedAnswer(f"metadata has no '{self._field}'").judgement()
            else:
                yield _judgement(next(checks))

    def close(self) -> None:
        self._checks.close()

    def _schema_for(self, candidate: Candidate) -> str | None:
        """The schema as JSON text."""
        if self._schema is not None:
            return self._schema
        schema = field_value(candidate.metadata, self._field)
        return schema if schema is None or isinstance(schema, str) else json.dumps(schema)


def check(schema: str, completion: str) -> Outcome:
    """Whether a completion's JSON is valid, and why not. A schema's pattern may never end: call it with limits.

    >>> check('{"type": "object", "required": ["a"]}', '{"b": 1}')
    {'valid': False, 'problem': "at $: 'a' is a required property"}
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        parsed = json.loads(schema)
        validator_class = _validator_class(parsed)
    except ValueError as error:
        return {"valid": None, "problem": f"the schema is invalid: {error}"}
    try:
        value = json_of(completion)
    except (ValueError, RecursionError) as error:
        return {"valid": False, "problem": f"not JSON ({error})"}
    try:
        # Only the drafts' schemas: by default, jsonschema would fetch the document that a $ref names.
        known = require("jsonschema_specifications").REGISTRY
        errors = list(validator_class(parsed, registry=known).iter_errors(value))
    except Unresolvable as error:
        return {"valid": None, "problem": f"the schema refers to another document: {error}"}
    if not errors:
        return {"valid": True, "problem": None}
    worst = best_match(errors)
    return {"valid": False, "problem": f"at {worst.json_path}: {worst.message}"}


def json_of(completion: str) -> object:
    """The JSON value of the whole completion, or else of its last block.

    Raises:
        ValueError: neither of them is JSON.
    """
    try:
        return _parse(completion)
    except ValueError:
        blocks = [block.text for block in fenced_blocks(completion) if block.language in ("", "json")]
        if not blocks:
            raise
        return _parse(blocks[-1])


def _parse(text: str) -> object:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _judgement(outcome: Outcome | CallFailed) -> Judgement:
    if isinstance(outcome, CallFailed):
        return Judgement(None, "error", readable(outcome.reason))
    problem = None if outcome["problem"] is None else readable(outcome["problem"])
    if outcome["valid"] is None:
        return Judgement(None, "error", problem)
    return Judgement.of(outcome["valid"], problem)


def _read_schema(path: str) -> str:
    """The schema as canonical JSON text, so that the layout of its file does not change the fingerprint."""
    schema = read_json_file(path)
    try:
        _validator_class(schema)
    except ValueError as error:
        raise UsageError(f"schema={path}: not a JSON schema ({error}).", option="reward_arg") from error
    return json.dumps(schema, sort_keys=True, ensure_ascii=False)


def _validator_class(schema: object) -> Any:
    """The class that validates under the schema's draft.

    Raises:
        ValueError: `schema` is not a JSON schema.
    """
    jsonschema = require("jsonschema")
    if not isinstance(schema, dict | bool):
        raise ValueError("it is not a JSON object")
    validator_class = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator_class.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(error.message) from error
    return validator_class
