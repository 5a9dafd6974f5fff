"""A model directory from outside: no custom code, no pickles, no cut weights; each is named."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grao_pipeline.errors import InputError
from grao_pipeline.models.source import load_causal_lm, load_config, locate_model


@pytest.fixture
def copy(tmp_path: Path, model: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "m"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_header(path: Path, change: Callable[[str], str]) -> None:
    """Change the JSON header of a safetensors file."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = change(data[8:end].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[end:])


def pickled(directory: Path, name: str) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({"w": torch.zeros(1)}, directory / name)


def indexed(directory: Path, shard: str) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: os.truncate(d / "model.safetensors", 1000), r"model\.safetensors is damaged"),
        (lambda d: os.truncate(d / "model.safetensors", 0), r"model\.safetensors is damaged"),
        (lambda d: edit_header(d / "model.safetensors", lambda h: h.replace("[0,", "[NaN,", 1)), "is damaged"),
        (lambda d: pickled(d, "pytorch_model.bin"), r"pytorch_model\.bin is a pickle.*save_pretrained"),
        (lambda d: pickled(d, "consolidated.00.pth"), r"consolidated\.00\.pth is a pickle"),
        (lambda d: indexed(d, "w.bin"), "names 'w.bin', which is not a safetensors file of that directory"),
        (lambda d: indexed(d, "../w.safetensors"), "names '../w.safetensors'"),
        (lambda d: indexed(d, "w.safetensors"), "w.safetensors is missing"),
        (lambda d: (d / "config.json").write_text("[" * 100_000), r"config\.json is not JSON"),
        (lambda d: (d / "config.json").write_text("[]"), r"config\.json is not a JSON object"),
    ],
)
def test_what_is_not_whole_safetensors_is_named(copy: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(copy)
    with pytest.raises(InputError, match=message):
        locate_model(str(copy))


def test_weights_of_another_shape_are_named_with_both_shapes(copy: Path) -> None:
    hidden = json.loads((copy / "config.json").read_text())["intermediate_size"]
    edit(copy / "config.json", intermediate_size=hidden // 2)
    with pytest.raises(InputError, match=rf"do not fit its config\.json: .*mlp.* has the shape .*{hidden}.* needs"):
        load_causal_lm(copy, "float32")


@pytest.mark.parametrize(
    "values",
    [{"hidden_size": "wide"}, {"architectures": 3}, {"model_type": []}, {"dtype": 16.0}],
    ids=["a size", "names", "a type", "a precision"],
)
def test_a_config_that_transformers_trips_over_is_named(copy: Path, values: dict[str, Any]) -> None:
    edit(copy / "config.json", **values)
    with pytest.raises(InputError, match=r"config\.json"):
        load_config(locate_model(str(copy)))


@pytest.mark.parametrize("code", ["own.Config", "someone/else--own.Config"])
def test_code_of_a_model_is_refused_with_the_file_that_names_it(copy: Path, code: str, tmp_path: Path) -> None:
    (copy / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit(copy / "config.json", auto_map={"AutoConfig": code}, model_type="own")
    with pytest.raises(InputError, match=rf"config\.json names custom code \(auto_map: {code}\), which is never"):
        load_config(locate_model(str(copy)))
    assert not (tmp_path / "ran").exists()
