"""`json-schema`: JSON and its validity, references that are never fetched, checks that never end."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Judgement
from tests.scoring.common import judge, rewards

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.slow
@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)])
def test_valid_json_is_1_and_anything_else_0(schema: Any) -> None:
    judgements = judge(
        "json-schema",
        ['{"name": "Ada", "age": 3}', '{"age": 3}', '{"name": "Ada", "age": -1}', "[]", '{"name": "Ada"', "NaN", ""],
        schema=schema,
    )
    assert rewards(judgements) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [judgement.detail for judgement in judgements][:4] == [
        None,
        "at $: 'name' is a required property",
        "at $.age: -1 is less than the minimum of 0",
        "at $: [] is not of type 'object'",
    ]
    assert all((judgement.detail or "").startswith("not JSON (") for judgement in judgements[4:])


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ('Here it is:\n```json\n{"name": "Ada"}\n```\nBye', 1.0),
        ('```json\n{"age": 1}\n```\n```json\n{"name": "Ada"}\n```', 1.0),  # the last block
        ('```json\n{"name": "Ada"}\n```\n```\n{"age": 1}\n```', 0.0),
        ('```JSON\n{"name": "Ada"}\n```', 1.0),
        ('The object {"name": "Ada"} is it', 0.0),  # neither the whole text nor a block
        ('```python\n{"name": "Ada"}\n```', 0.0),
    ],
)
def test_the_json_is_the_whole_text_or_the_last_block(text: str, reward: float) -> None:
    assert rewards(judge("json-schema", [text], schema=SCHEMA)) == [reward]


@pytest.mark.slow
def test_the_content_of_a_schema_file_is_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    assert rewards(judge("json-schema", ['{"name": "Ada"}', "{}"], f"schema={path}")) == [1.0, 0.0]

    def identity() -> Any:
        return make_reward(ScoreOptions(reward="json-schema", reward_arg=[f"schema={path}"])).identity()

    before = identity()
    path.write_text(json.dumps(SCHEMA, indent=3))
    assert identity() == before
    path.write_text('{"type": "array"}')
    assert identity() != before


def test_only_references_inside_the_schema_are_followed() -> None:
    inside = {"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}
    assert rewards(judge("json-schema", ["[1]", '["a"]'], schema=inside)) == [1.0, 0.0]
    draft = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
    assert rewards(judge("json-schema", ['{"type": "array"}', '{"type": "list"}'], schema=draft)) == [1.0, 0.0]
    requests: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def listen() -> None:
            try:
                requests.append(server.accept())
            except OSError:
                return

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        (judgement,) = judge("json-schema", ["1"], schema={"$ref": url})
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert (judgement.reward, judgement.status, requests) == (None, "error", [])
    assert (judgement.detail or "").startswith("the schema refers to another document: ")


@pytest.mark.slow
def test_an_endless_pattern_is_stopped_and_the_next_is_judged() -> None:
    judgements = judge("json-schema", [json.dumps("a" * 60 + "!"), '"aa"'], schema={"pattern": "^(a+)+$"})
    assert judgements == [Judgement(None, "error", "no result within 5 s"), Judgement(1.0)]


@pytest.mark.slow
def test_a_missing_or_invalid_schema_is_an_error() -> None:
    assert judge("json-schema", ["1"]) == [Judgement(None, "error", "metadata has no 'schema'")]
    for schema in ({"type": "text"}, "{", 5):
        (judgement,) = judge("json-schema", ["1"], "field=form", form=schema)
        assert (judgement.reward, (judgement.detail or "")[:23]) == (None, "the schema is invalid: ")


def test_extreme_nesting_is_not_json() -> None:
    (judgement,) = judge("json-schema", ["[" * 100_000 + "]" * 100_000], schema={})
    assert judgement.reward == 0.0


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "none.json").write_text('{"type": "text"}')
    for argument, error, message in (
        (f"schema={tmp_path}/missing.json", InputError, "Cannot read "),
        (f"schema={tmp_path}/no.json", InputError, "no.json, line 1: not valid JSON"),
        (f"schema={tmp_path}/none.json", UsageError, "not a JSON schema"),
    ):
        with pytest.raises(error, match=message):
            judge("json-schema", ["1"], argument)
    with pytest.raises(UsageError, match="not both"):
        judge("json-schema", ["1"], f"schema={tmp_path}/none.json", "field=x")
