"""An adapter is held against its base model before any weights are loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from grao_pipeline.errors import InputError
from grao_pipeline.models.adapter import check_adapter, load_adapter
from tests import tiny


def adapter(base: Path, out: Path, **settings: Any) -> Path:
    """A LoRA adapter of some kind for a base model."""
    config = LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "target_modules": ["q_proj", "v_proj"], **settings})
    get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), config).save_pretrained(str(out))
    return out


def checked_and_loaded(base: Path, made: Path) -> None:
    check_adapter(str(base), str(made))
    load_adapter(AutoModelForCausalLM.from_pretrained(str(base)), str(made))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rank_pattern": {"v_proj": 32}, "alpha_pattern": {"q_proj": 3}},
        {"use_dora": True},
        {"use_rslora": True, "init_lora_weights": "gaussian"},
        {"modules_to_save": ["norm"]},
        {"bias": "lora_only"},
        {"layers_to_transform": [1]},
        {"target_modules": "all-linear"},
    ],
)
def test_an_adapter_of_the_model_fits(tmp_path: Path, model: Path, settings: dict[str, Any]) -> None:
    check_adapter(str(model), str(adapter(model, tmp_path / "adapter", **settings)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden_size": 128}, r"lora_A\.weight has the shape \[4, 128\], and this model needs \[4, 64\]\."),
        ({"num_hidden_layers": 3}, r"it holds weights for layers that the model does not have \(.*layers\.2\."),
        ({"num_hidden_layers": 1}, r"it lacks weights for layers of the model \(.*layers\.1\."),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    tmp_path: Path, model: Path, changes: dict[str, Any], problem: str
) -> None:
    other = tiny.make_model(tmp_path / "other", **changes)
    foreign = adapter(other, tmp_path / "adapter")
    with pytest.raises(InputError, match=rf"adapter does not fit .*; it was made for .*other: .*{problem}"):
        check_adapter(str(model), str(foreign))


def test_layers_of_another_family_are_named(tmp_path: Path, model: Path) -> None:
    made = adapter(model, tmp_path / "adapter")
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["c_attn"]}))
    with pytest.raises(InputError, match=r"Target modules .*c_attn.* not found"):
        check_adapter(str(model), str(made))


def test_an_adapter_of_virtual_tokens_is_refused(tmp_path: Path, model: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(AutoModelForCausalLM.from_pretrained(str(model)), config).save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(InputError, match="is not a LoRA adapter but one of type PROMPT_TUNING"):
        check_adapter(str(model), str(tmp_path / "adapter"))


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": "(q_proj"},
        {"rank_pattern": {"(v_proj": 2}},
        {"modules_to_save": [3]},
        {"r": "four"},
        {"peft_type": ["LORA"]},
        {"lora_alpha": {"q_proj": 1}},
    ],
)
def test_an_adapter_config_that_cannot_be_is_one_message(tmp_path: Path, model: Path, changes: dict[str, Any]) -> None:
    made = adapter(model, tmp_path / "adapter")
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=str(made)):
        checked_and_loaded(model, made)
