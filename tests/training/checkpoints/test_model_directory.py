"""What a finished training leaves: a Hugging Face model directory, metrics and a manifest, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from grao_pipeline.checksums import bytes_checksum, file_checksum
from grao_pipeline.fingerprints import model_fingerprint
from grao_pipeline.models.templates import PLAIN_TEMPLATE
from grao_pipeline.storage.file_records import FileRecord
from grao_pipeline.training.checkpoints.metrics_log import MetricsLog
from tests import tiny
from tests.manifests import manifest_of
from tests.training import oracle

OPTIONS = ["--device", "cpu", "--groups-per-step", 5, "--learning-rate", "1e-3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, groups: str, advantages: str, model: Path) -> Path:
    """The result of two steps, with checkpoints on the way."""
    out = tmp_path_factory.mktemp("trained") / "out"
    tiny.grao_json("train", groups, advantages, out, "--model", model, *OPTIONS, "--checkpoint-steps", 1)
    return out


def tensors(directory: Path) -> dict[str, Tensor]:
    made: dict[str, Tensor] = load_file(directory / "model.safetensors")
    return made


def test_the_directory_holds_the_model_its_manifest_and_metrics_alone(trained: Path, model: Path) -> None:
    expected = {path.name for path in model.iterdir()} | {"manifest.json", "metrics.jsonl"}
    assert {path.name for path in trained.iterdir()} == expected


def test_model_and_tokenizer_load_by_transformers(trained: Path, model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(str(trained))
    tokenizer = AutoTokenizer.from_pretrained(str(trained))
    assert tokenizer.chat_template == tiny.CHAT_TEMPLATE
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    messages = [{"role": "user", "content": "Hello"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    assert torch.isfinite(loaded(ids).logits).all()
    assert "grao" not in (trained / "config.json").read_text()  # how it attended is not part of the model
    before, after = tensors(model), tensors(trained)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_the_manifest_says_what_the_model_is(trained: Path, model: Path, groups: str, advantages: str) -> None:
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["table"] == "model"
    assert manifest["model"] == model_fingerprint(trained)
    assert manifest["inputs"]["model"] == model_fingerprint(model)
    for name in ("groups", "advantages"):
        url = {"groups": groups, "advantages": advantages}[name]
        assert manifest["inputs"][name] == manifest_of(url)["fingerprint"]
    records = {
        name: {"bytes": (trained / name).stat().st_size, "sha256": file_checksum(trained / name)}
        for name in manifest["files"]
    }
    assert manifest["files"] == records
    assert set(manifest["files"]) == {path.name for path in model.iterdir()}
    assert manifest["summary"]["steps"] == 2


def test_a_finished_training_is_not_done_again_and_says_so(
    trained: Path, groups: str, advantages: str, model: Path
) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in trained.iterdir()}
    result = tiny.grao("train", groups, advantages, trained, "--model", model, *OPTIONS, "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["was_complete"] is True
    assert summary["steps"] == 2
    assert summary["model"] == model_fingerprint(trained)
    assert "nothing to do" in result.stderr
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in trained.iterdir()} == before


def test_a_damaged_model_is_neither_finished_nor_sampled_nor_shown(
    trained: Path, groups: str, advantages: str, model: Path, prompts: str, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(trained, tmp_path / "damaged"))
    data = bytearray((damaged / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (damaged / "model.safetensors").write_bytes(data)
    for command in (
        ["train", groups, advantages, damaged, "--model", model, *OPTIONS],
        ["train", groups, advantages, tmp_path / "next", "--model", damaged, "--allow-off-policy", *OPTIONS],
        ["generate", prompts, tmp_path / "groups", "--model", damaged, "--engine", "transformers"],
        ["inspect", damaged],
    ):
        result = tiny.grao(*command)
        assert result.exit_code == 1
        assert f"{damaged}/model.safetensors is damaged: its SHA-256 is not" in result.stderr
    assert not (tmp_path / "groups").exists()


def test_what_the_policy_is_called_fits_the_next_round(trained: Path, tmp_path: Path, prompts: str) -> None:
    """Groups that the trained model samples name it as the manifest does."""
    sampling = ["--engine", "transformers", "--samples", 1, "--max-new-tokens", 2]
    tiny.grao_json("generate", prompts, tmp_path / "groups", "--model", trained, *sampling)
    policies = {row["policy"] for row in oracle.table_rows(tmp_path / "groups")}
    assert policies == {json.loads((trained / "manifest.json").read_text())["model"]}


@pytest.mark.slow
@pytest.mark.parametrize("save_dtype", ["bfloat16", "float16", "float32"])
def test_weights_are_saved_in_the_precision_asked_for(
    tmp_path: Path, trained: Path, groups: str, advantages: str, model: Path, save_dtype: str
) -> None:
    """Training is the same; only what is written is rounded."""
    out = tmp_path / "out"
    tiny.grao_json("train", groups, advantages, out, "--model", model, *OPTIONS, "--save-dtype", save_dtype)
    dtype = getattr(torch, save_dtype)
    expected = {name: value.to(dtype) for name, value in tensors(trained).items()}
    found = tensors(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert json.loads((out / "config.json").read_text())["dtype"] == save_dtype


@pytest.mark.slow
def test_by_default_weights_are_saved_in_the_models_own_precision(
    tmp_path: Path, groups: str, advantages: str, model: Path
) -> None:
    """A bfloat16 model is trained in float32 and saved in bfloat16."""
    from transformers import AutoTokenizer

    base = tmp_path / "base"
    oracle.load_model(model, "bfloat16").save_pretrained(str(base))
    AutoTokenizer.from_pretrained(str(model)).save_pretrained(str(base))
    tiny.grao_json("train", groups, advantages, tmp_path / "out", "--model", base, *OPTIONS, "--allow-off-policy")
    tiny.grao_json(
        "train",
        *(groups, advantages, tmp_path / "wide", "--model", base, *OPTIONS, "--allow-off-policy"),
        *("--save-dtype", "float32"),
    )
    narrow, wide = tensors(tmp_path / "out"), tensors(tmp_path / "wide")
    assert all(torch.equal(narrow[name], wide[name].to(torch.bfloat16)) for name in wide)
    assert any(not torch.equal(narrow[name].float(), wide[name]) for name in wide)


@pytest.mark.slow
def test_a_base_model_without_chat_template_gets_the_one_it_was_sampled_with(tmp_path: Path, prompts: str) -> None:
    from transformers import AutoTokenizer

    base = tiny.make_model(tmp_path / "base", chat_template=None)
    sampling = ["--engine", "transformers", "--samples", 2, "--max-new-tokens", 4]
    tiny.grao_json("generate", prompts, tmp_path / "groups", "--model", base, *sampling)
    reward = ["--reward", "length", "--reward-arg", "target=3"]
    tiny.grao_json("score", tmp_path / "groups", tmp_path / "scores", *reward)
    tiny.grao_json("advantages", tmp_path / "groups", tmp_path / "advantages", "--scores", tmp_path / "scores")
    tiny.grao_json("train", tmp_path / "groups", tmp_path / "advantages", tmp_path / "out", "--model", base)
    assert AutoTokenizer.from_pretrained(str(base)).chat_template is None
    assert AutoTokenizer.from_pretrained(str(tmp_path / "out")).chat_template == PLAIN_TEMPLATE


TWO_STEPS = b'{"step": 1, "J": 0.1}\n{"step": 2, "J": 0.2}\n'
THIRD = b'{"step": 3, "J": 0.3}\n'


def log_after(tmp_path: Path, data: bytes) -> MetricsLog:
    """A log that is resumed after two steps, from a file with this content."""
    (tmp_path / "metrics.jsonl").write_bytes(data)
    return MetricsLog(tmp_path, 2, FileRecord(len(TWO_STEPS), bytes_checksum(TWO_STEPS)))


def test_metrics_behind_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    log = log_after(tmp_path, TWO_STEPS + THIRD + b'{"step": 4, "J')
    log.append({"step": 3, "J": 0.5})
    assert log.problem is None
    assert (tmp_path / "metrics.jsonl").read_bytes() == TWO_STEPS + b'{"step": 3, "J": 0.5}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("data", "said", "left"),
    [
        (TWO_STEPS[22:] + THIRD, "the lines of 1 steps are lost: 1", TWO_STEPS[22:]),
        (TWO_STEPS.replace(b'"step": 2', b'"st\xffp": 2'), "are lost: 2", TWO_STEPS[:22]),
        (b"[]\n" + b"[" * 100_000 + b'\n{"step": "1"}\n{"step": true}\n\xff\x00', "are lost: 1, 2", b""),
        (TWO_STEPS.replace(b"0.2", b"0.3"), "numbers may be wrong", TWO_STEPS.replace(b"0.2", b"0.3")),
        (b"", "the lines of 2 steps are lost: 1, 2", b""),
    ],
    ids=["a lost line", "a flipped byte", "no steps", "another number", "empty"],
)
def test_metrics_that_are_not_as_they_were_written_are_said(
    tmp_path: Path, data: bytes, said: str, left: bytes
) -> None:
    assert said in str(log_after(tmp_path, data).problem)
    assert (tmp_path / "metrics.jsonl").read_bytes() == left
