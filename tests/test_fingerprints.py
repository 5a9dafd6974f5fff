"""Fingerprints never drift; they ignore what does not matter and nothing else."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grao_pipeline.checksums import bytes_checksum, file_checksum
from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import (
    fingerprint,
    group_fingerprint,
    model_fingerprint,
    prompt_fingerprint,
    stage_fingerprint,
    tokenizer_fingerprint,
)
from tests.tiers import examples

MESSAGES = [{"role": "system", "content": "Sei höflich."}, {"role": "user", "content": 'Say "hi"\n'}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("computed", "text", "known"),
    [
        # What is hashed is compact JSON, in UTF-8, with sorted keys; the literal keeps it so.
        (
            fingerprint({"b": 1, "a": ["é", None, 0.5]}),
            '{"a":["é",null,0.5],"b":1}',
            "af81ad7b720f5488d8ebfaa891870091",
        ),
        (
            prompt_fingerprint(MESSAGES, "Hi.", None, '{"answer": 1}'),
            r'[[["system","Sei höflich."],["user","Say \"hi\"\n"]],"Hi.",null,"{\"answer\": 1}"]',
            "70d123ac7138808782d1af615eac8540",
        ),
        (
            group_fingerprint("q" * 32, "p" * 32, [[1, 2], []]),
            '["' + "q" * 32 + '","' + "p" * 32 + '",[[1,2],[]]]',
            "6c59fcce6a61f5ab593ac1ab21bcc5a7",
        ),
        (
            stage_fingerprint("score", {"reward": "gsm8k"}, {"groups": "a"}),
            '{"contract":2,"inputs":{"groups":"a"},"options":{"reward":"gsm8k"},"stage":"score"}',
            "03bf6c10264d1e246ad09e484ea6a0e3",
        ),
    ],
)
def test_fingerprints_never_drift(computed: str, text: str, known: str) -> None:
    assert computed == known == digest(text)


@pytest.mark.slow
@settings(max_examples=examples(50))
@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


@settings(max_examples=examples(50))
@given(JSON, JSON)
def test_different_values_differ_and_equal_ones_do_not(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_half_a_surrogate_pair_can_be_hashed_and_nan_cannot() -> None:
    assert len(fingerprint("\ud800")) == 32
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))


def test_every_field_of_a_row_counts() -> None:
    fingerprints = {
        prompt_fingerprint(MESSAGES, None, None, "{}"),
        prompt_fingerprint(MESSAGES[:1], None, None, "{}"),
        prompt_fingerprint(MESSAGES[::-1], None, None, "{}"),
        prompt_fingerprint(MESSAGES, "", None, "{}"),
        prompt_fingerprint(MESSAGES, None, "", "{}"),
        prompt_fingerprint(MESSAGES, None, None, '{"a": 1}'),
        group_fingerprint("q", "p", [[1, 2], [3]]),
        group_fingerprint("q", "p", [[1], [2, 3]]),
        group_fingerprint("q", "p", [[3], [1, 2]]),
        group_fingerprint("q", "o", [[1, 2], [3]]),
        group_fingerprint("o", "p", [[1, 2], [3]]),
        stage_fingerprint("score", {}, {}),
        stage_fingerprint("train", {}, {}),
        stage_fingerprint("score", {"a": 1}, {}),
        stage_fingerprint("score", {}, {"a": 1}),
    }
    assert len(fingerprints) == 15


def test_checksums_are_sha256_of_bytes_and_of_files(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert (bytes_checksum(b""), bytes_checksum(memoryview(b"abc"))) == (empty, abc)
    (tmp_path / "file").write_bytes(b"abc")
    assert file_checksum(tmp_path / "file") == abc


CONFIG = {"model_type": "qwen2", "hidden_size": 64, "_name_or_path": "x", "transformers_version": "5.0"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with a model's files; their content is of no matter to a hash."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "model-00001-of-00002.safetensors").write_bytes(b"one" * 1000)
    (path / "model-00002-of-00002.safetensors").write_bytes(b"two" * 1000)
    (path / "tokenizer.json").write_text("{}")
    return path


def test_a_copy_of_a_model_is_the_same_model(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    assert model_fingerprint(tmp_path / "copy") == model_fingerprint(str(model))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "config.json").write_text(
            json.dumps({"use_cache": False, **CONFIG, "transformers_version": "5.19", "_name_or_path": "y"}, indent=2)
        ),
        lambda path: (path / "tokenizer.json").write_text('{"a": 1}'),
        lambda path: (path / "generation_config.json").write_text("{}"),
        # transformers loads the safetensors where both are there, and these two are not weights of the model
        lambda path: (path / "pytorch_model.bin").write_bytes(b"also"),
        lambda path: (path / "training_args.bin").write_bytes(b"arguments of a trainer"),
    ],
    ids=["config's provenance", "tokenizer", "generation config", "second format", "trainer's arguments"],
)
def test_what_does_not_change_the_function_does_not_change_the_model(
    model: Path, change: Callable[[Path], Any]
) -> None:
    before = model_fingerprint(model)
    change(model)
    assert model_fingerprint(model) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "model-00002-of-00002.safetensors").write_bytes(b"two" * 999 + b"twO"),
        lambda path: (path / "model-00002-of-00002.safetensors").unlink(),
        lambda path: (path / "model-00003-of-00003.safetensors").write_bytes(b""),
        lambda path: (path / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 128})),
        lambda path: (path / "config.json").write_text(json.dumps({**CONFIG, "rope_theta": 1e6})),
    ],
    ids=["one byte of a weight", "a shard less", "a shard more", "a changed key", "another key"],
)
def test_what_changes_the_function_changes_the_model(model: Path, change: Callable[[Path], Any]) -> None:
    before = model_fingerprint(model)
    change(model)
    assert model_fingerprint(model) != before


def test_one_changed_weight_makes_another_model(model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = {"w": torch.zeros(100)}
    for path in model.glob("*.safetensors"):
        path.unlink()
    save_file(weights, model / "model.safetensors")
    before = model_fingerprint(model)
    save_file(load_file(model / "model.safetensors"), model / "model.safetensors")
    assert model_fingerprint(model) == before
    weights["w"][42] = 1e-30
    save_file(weights, model / "model.safetensors")
    assert model_fingerprint(model) != before


def test_pickled_weights_are_no_weights(model: Path) -> None:
    for path in model.glob("*.safetensors"):
        path.unlink()
    (model / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(InputError, match=r"has no weights \(\*\.safetensors\)"):
        model_fingerprint(model)


def test_a_directory_without_a_model_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is not a model directory: it has no config\.json"):
        model_fingerprint(tmp_path / "nowhere")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"It holds a LoRA adapter: .* give it with --adapter"):
        model_fingerprint(tmp_path)
    (model / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"model/config\.json is not JSON"):
        model_fingerprint(model)


def test_a_tokenizer_is_its_files_and_chat_template(model: Path, tmp_path: Path) -> None:
    fingerprints = [tokenizer_fingerprint(model)]
    shutil.copytree(model, tmp_path / "copy")
    assert tokenizer_fingerprint(tmp_path / "copy") == fingerprints[0]
    for name in ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json"):
        (model / name).write_text('{"another": "one"}')
        fingerprints.append(tokenizer_fingerprint(model))
    assert len(set(fingerprints)) == 4


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "-1e400"])
def test_a_config_may_hold_numbers_that_are_not_finite(model: Path, number: str) -> None:
    """Some architectures say so of their time steps; each number is another function."""
    before = (model / "config.json").read_text()
    seen = set()
    for value in ("0.5", number):
        (model / "config.json").write_text(before.rstrip()[:-1] + f', "time_step_limit": [0.0, {value}]}}')
        seen |= {model_fingerprint(model), model_fingerprint(model)}
    assert len(seen) == 2
