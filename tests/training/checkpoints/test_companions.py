"""What a model directory holds next to its weights survives a training, or stops it before the first step."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen2Config

from grao_pipeline.errors import InputError, StageFailure
from grao_pipeline.training.checkpoints.companions import rehearse, write_companions
from tests import tiny

UNSAVABLE = {"do_sample": False, "temperature": 0.9, "top_p": 0.6, "eos_token_id": [2, 7], "num_beams": 1}
"""As in Llama 2 chat and Vicuna, and more: transformers reads it, and refuses to write it."""
OTHERS = {
    "preprocessor_config.json": '{"image_processor_type": "X"}',
    "processor_config.json": '{"processor_class": "X"}',
    "video_preprocessor_config.json": "{}",
    "chat_template.json": "{}",
    "modeling_own.py": "x = 1\n",
    "LICENSE.txt": "free",
    "tokenizer.model": "pieces",
}


class Broken:
    """A tokenizer, or a config, that cannot be saved."""

    chat_template = "{{ messages }}"

    def save_pretrained(self, _: str) -> None:
        raise ValueError("It holds a set, which is not JSON.")


def damaged_copy(model: Path, root: Path, generation: dict[str, Any] | None, **config: object) -> Path:
    """A model with companions, a generation config, and further fields in its config."""
    base = root / "base"
    shutil.copytree(model, base)
    for name, text in OTHERS.items():
        (base / name).write_text(text)
    (base / "README.md").write_text("a card of another model")
    (base / "model.safetensors.index.json").write_text("{}")
    (base / "generation_config.json").unlink(missing_ok=True)
    if generation is not None:
        (base / "generation_config.json").write_text(json.dumps(generation))
    stored = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(stored | config))
    return base


@pytest.mark.slow
def test_a_training_keeps_what_transformers_would_not_write(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    base, out = damaged_copy(model, tmp_path, UNSAVABLE), tmp_path / "out"
    tiny.grao_json("train", groups, advantages, out, "--model", base, "--allow-off-policy", "--device", "cpu")
    assert json.loads((out / "generation_config.json").read_text()) == UNSAVABLE
    assert {name: (out / name).read_text() for name in OTHERS} == OTHERS
    assert not (out / "README.md").exists()
    assert not (out / "model.safetensors.index.json").exists()
    assert json.loads((out / "manifest.json").read_text())["files"].keys() >= OTHERS.keys()
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("generation", [None, UNSAVABLE])
def test_settings_of_sampling_in_the_config_stay_there(
    tmp_path: Path, model: Path, generation: dict[str, Any] | None
) -> None:
    """Older models have them there; transformers moves them into a generation config, which may contradict itself."""
    settings = {"temperature": 0.7, "do_sample": False, "eos_token_id": [2, 5], "num_beams": 4, "max_length": 99}
    base, out = damaged_copy(model, tmp_path, generation, **settings), tmp_path / "out"
    out.mkdir()
    loaded = AutoModelForCausalLM.from_pretrained(str(base))
    write_companions(out, loaded, AutoTokenizer.from_pretrained(str(base)), base)
    config = json.loads((out / "config.json").read_text())
    assert {name: config[name] for name in settings} == settings
    ends = GenerationConfig.from_pretrained(str(out)).eos_token_id
    assert ends == ([2, 5] if generation is None else [2, 7])


def test_a_tokenizer_that_cannot_be_saved_is_copied(tmp_path: Path, model: Path) -> None:
    base, out = damaged_copy(model, tmp_path, None), tmp_path / "out"
    out.mkdir()
    write_companions(out, SimpleNamespace(config=Qwen2Config(), generation_config=None), Broken(), base)
    assert AutoTokenizer.from_pretrained(str(out)).chat_template == Broken.chat_template
    assert (out / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_a_config_that_cannot_be_saved_is_found_before_the_training(tmp_path: Path, model: Path) -> None:
    config = Qwen2Config()
    config.save_pretrained = Broken().save_pretrained
    broken = SimpleNamespace(config=config, generation_config=None)
    message = r"could not be saved: It holds a set, which is not JSON\. Nothing was trained"
    with pytest.raises(InputError, match=message):
        rehearse(tmp_path / "out", broken, AutoTokenizer.from_pretrained(str(model)), model)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_out_that_cannot_be_written_is_found_before_the_training(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageFailure, match=r"Cannot write .*/file/out: Not a directory\. Nothing was trained\."):
        rehearse(tmp_path / "file" / "out", None, None, model)
