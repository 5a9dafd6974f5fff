"""`json-schema`: 1 where the completion is JSON that is valid under a schema, else 0."""

import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.plugins import require
from grao_pipeline.scoring.rewards.arguments import readable
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, RewardRuntime, take_arguments
from grao_pipeline.scoring.sandbox.limited_calls import CallFailed, LimitedCalls

BLOCK = re.compile(r"^```[ \t]*(?:json)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)
SECONDS_PER_CHECK = 5.0
MEMORY_MIB = 1024


class JsonSchema:
    """Validates the JSON of a completion with the `jsonschema` package, under the draft that the schema names (2020-12
    where it names none).

    The JSON is the whole completion, or else its last ```` ```json ```` block (or block without a language).

    1: it is valid. 0: there is no JSON (`NaN` is none), or it is not valid; the detail has the first violation.
    null + `error`: there is no schema, it is none, it refers to another document (`$ref` to anything but itself and the
    drafts' own schemas is never fetched), or a check exceeded 5 s of CPU time (a `pattern` can take for ever).

    Arguments: schema: a JSON file with one schema for all; or field (schema): the key of the metadata that holds the
    schema, as an object or as JSON text. `format` is not checked, as the standard has it.

    Raises:
        UsageError: both arguments are given, or the file holds no schema.
        InputError: the file cannot be read.
        MissingDependency: jsonschema is not installed.
    """

    def __init__(self, arguments: Mapping[str, str], runtime: RewardRuntime) -> None:
        taken = take_arguments("json-schema", arguments, schema="", field="schema")
        if "schema" in arguments and "field" in arguments:
            raise UsageError("--reward-arg: reward 'json-schema' takes schema=FILE or field=NAME, not both.")
        self._field = taken["field"]
        self._schema = _read_schema(taken["schema"]) if "schema" in arguments else None
        try:
            self._version = importlib.metadata.version("jsonschema")
        except importlib.metadata.PackageNotFoundError:
            require("jsonschema")

    def identity(self) -> Mapping[str, Any]:
        source = {"field": self._field} if self._schema is None else {"schema": self._schema}
        return {**source, "jsonschema": self._version, "version": 1}

    def score(self, candidates: Sequence[Candidate]) -> Iterator[Judgement]:
        schemas = [self._schema_for(candidate) for candidate in candidates]
        found = self._checks.map(
            {"schema": schema, "completion": candidate.completion}
            for candidate, schema in zip(candidates, schemas, strict=True)
            if schema is not None
        )
        for schema in schemas:
            if schema is None:
                yield Judgement(None, "error", f"metadata has no '{self._field}'")
            else:
                yield _judgement(next(found))

    def _schema_for(self, candidate: Candidate) -> str | None:
        """The schema as JSON text."""
        if self._schema is not None:
            return self._schema
        schema = candidate.metadata.get(self._field)
        return schema if schema is None or isinstance(schema, str) else json.dumps(schema)

    @cached_property
    def _checks(self) -> LimitedCalls:
        return LimitedCalls(f"{__name__}:check", 1, SECONDS_PER_CHECK, MEMORY_MIB)


def check(schema: str, completion: str) -> dict[str, Any]:
    """Whether a completion's JSON is valid, and why not. A schema's patterns may take for ever: call it with limits.

    >>> check('{"type": "object", "required": ["a"]}', '{"b": 1}')
    {'valid': False, 'problem': "at $: 'a' is a required property"}
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        parsed = json.loads(schema)
        kind = _validator(parsed)
    except ValueError as error:
        return {"valid": None, "problem": f"the schema is none: {error}"}
    try:
        value = json_of(completion)
    except (ValueError, RecursionError) as error:
        return {"valid": False, "problem": f"no JSON ({error})"}
    try:
        # The drafts' own schemas and nothing else: by default, jsonschema would fetch what a $ref names.
        known = require("jsonschema_specifications").REGISTRY
        errors = list(kind(parsed, registry=known).iter_errors(value))
    except Unresolvable as error:
        return {"valid": None, "problem": f"the schema refers to what is not in it: {error}"}
    if not errors:
        return {"valid": True, "problem": None}
    worst = best_match(errors)
    return {"valid": False, "problem": f"at {worst.json_path}: {worst.message}"}


def json_of(completion: str) -> Any:
    """The value of the whole completion, or else of its last block.

    Raises:
        ValueError: neither is JSON.
    """
    try:
        return _parse(completion)
    except ValueError:
        blocks = BLOCK.findall(completion)
        if not blocks:
            raise
        return _parse(blocks[-1])


def _parse(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _judgement(found: Any) -> Judgement:
    if isinstance(found, CallFailed):
        return Judgement(None, "error", readable(found.reason))
    if found["valid"] is None:
        return Judgement(None, "error", readable(found["problem"]))
    return Judgement.of(float(found["valid"]), None if found["valid"] else readable(found["problem"]))


def _read_schema(path: str) -> str:
    """A schema's file as canonical JSON text, so that its layout plays no part in the fingerprint."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--reward-arg schema={path}: cannot be read ({error}).") from error
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--reward-arg schema={path}: not JSON ({error}).") from error
    try:
        _validator(schema)
    except ValueError as error:
        raise UsageError(f"--reward-arg schema={path}: not a JSON schema ({error}).") from error
    return json.dumps(schema, sort_keys=True, ensure_ascii=False)


def _validator(schema: Any) -> Any:
    """The class that validates under a schema's own draft.

    Raises:
        ValueError: it is no schema.
    """
    jsonschema = require("jsonschema")
    if not isinstance(schema, dict | bool):
        raise ValueError("it is no JSON object")
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(error.message) from error
    return validator
