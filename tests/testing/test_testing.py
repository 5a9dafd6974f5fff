"""What plug-in authors test with: light to import, real where it is used."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import grao_pipeline.testing
from grao_pipeline.generation.engines.base import Engine, Request, Sampling
from grao_pipeline.scoring.rewards.base import Candidate
from grao_pipeline.storage.reader import open_table
from grao_pipeline.testing import (
    FakeEngine,
    FakeReward,
    group_row,
    make_tiny_model,
    make_tiny_reward_model,
    prompt_row,
    score_row,
    write_groups,
    write_table,
)
from tests import tiny


@pytest.mark.slow
def test_importing_it_loads_no_heavy_package() -> None:
    code = """
import sys, grao_pipeline.testing
from grao_pipeline.testing import make_tiny_model, write_groups
print([name for name in ("torch", "polars", "transformers") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize("name", grao_pipeline.testing.__all__)
def test_every_name_exists_and_is_documented(name: str) -> None:
    value = getattr(grao_pipeline.testing, name)
    assert name in dir(grao_pipeline.testing)
    assert isinstance(value, str | tuple) or value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'FakeWriter'"):
        getattr(grao_pipeline.testing, "FakeWriter")  # noqa: B009


@pytest.mark.slow
def test_a_tiny_model_samples_and_its_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    paths = [make_tiny_model(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = ([*AutoModelForCausalLM.from_pretrained(str(path)).parameters()] for path in paths)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0], other[0])
    tokenizer = AutoTokenizer.from_pretrained(str(paths[0]))
    chat = [{"role": "user", "content": "héllo"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert tokenizer.decode(ids) == "<|im_start|>user\nhéllo<|im_end|>\n<|im_start|>assistant\n"


def test_sizes_of_a_tiny_model_can_be_changed(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(str(make_tiny_model(tmp_path / "model", num_hidden_layers=1)))
    assert model.config.num_hidden_layers == 1
    classifier = make_tiny_reward_model(tmp_path / "reward", names=("bad", "good"))
    labels = AutoModelForSequenceClassification.from_pretrained(str(classifier)).config.id2label
    assert labels == {0: "bad", 1: "good"}


def test_a_reward_is_tested_on_groups_of_plain_texts(tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", {"What is 6 · 7?": ["42", "41"], "Say it.": ["it"]}, answer="42")
    assert open_table(groups, "groups").num_rows == 2
    tiny.grao_json("score", groups, tmp_path / "scores", "--reward", "numeric")
    assert open_table(str(tmp_path / "scores")).polars()["rewards"].to_list() == [[1.0, 0.0], [0.0]]


def test_tables_can_be_written_of_every_kind(tmp_path: Path) -> None:
    group = group_row("prompt", ["a", "b"])
    write_table(tmp_path / "prompts", "prompts", [prompt_row("prompt", "reference", answer=1)])
    write_table(tmp_path / "groups", "groups", [group], fingerprint="a" * 32, options={"samples": 2})
    write_table(tmp_path / "scores", "scores", [score_row(group["group_id"], [1.0, None], 0.5)])
    assert open_table(str(tmp_path / "prompts"), "prompts").num_rows == 1
    groups = open_table(str(tmp_path / "groups"), "groups")
    assert (groups.fingerprint, groups.provenance.options) == ("a" * 32, {"samples": 2})
    assert open_table(str(tmp_path / "scores"), "scores").polars()["statuses"].to_list() == [["ok", "error"]]


def test_the_fakes_are_what_the_seams_ask_for() -> None:
    engine: Engine = FakeEngine()
    [[group]] = engine.generate([[Request((0, 0), [1, 2], 3, seed=0, max_new_tokens=4)]], Sampling(1.0, 1.0, 4, (0,)))
    assert len(group.samples) == 3
    assert [judgement.reward for judgement in FakeReward().score([Candidate([], "four", None, {})])] == [4.0]
