"""`grao merge`: the sum of models is that of their tensors, and a finished one is found."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from grao_pipeline.errors import InputError, MismatchError, UsageError
from grao_pipeline.models.source import locate_model
from grao_pipeline.training.merging.merge import merge_models
from grao_pipeline.training.merging.options import MergeOptions
from tests import tiny
from tests.training import oracle


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [tiny.make_model(root / f"{seed}", seed=seed) for seed in (1, 2, 3)]


def tensors(place: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(place / "model.safetensors"))


def merged(out: Path, models: list[Path], weights: list[float] | None = None, **options: Any) -> dict[str, Any]:
    given = models if weights is None else [f"{m}={w}" for m, w in zip(models, weights, strict=True)]
    flags = [word for model in given for word in ("--model", model)]
    flags += [word for name, value in options.items() for word in (f"--{name}", value)]
    return tiny.grao_json("merge", out, *flags)


@pytest.mark.parametrize(
    ("count", "weights", "options", "expected"),
    [
        (3, [0.5, 0.75, -0.25], {}, [0.5, 0.75, -0.25]),
        (3, None, {}, [1 / 3, 1 / 3, 1 / 3]),
        (2, None, {"momentum": 0.3}, [1.3, -0.3]),
        (2, None, {"average": 0.25}, [0.75, 0.25]),
    ],
)
def test_the_result_is_the_weighted_sum_of_every_tensor(
    tmp_path: Path,
    models: list[Path],
    count: int,
    weights: list[float] | None,
    options: dict[str, float],
    expected: list[float],
) -> None:
    summary = merged(tmp_path / "out", models[:count], weights, **options)
    parts = [tensors(model) for model in models[:count]]
    total, moved, size = tensors(tmp_path / "out"), 0.0, 0.0
    assert total.keys() == parts[0].keys()
    for name, value in total.items():
        sums = sum(w * part[name].double() for w, part in zip(expected, parts, strict=True))
        torch.testing.assert_close(value.double(), torch.as_tensor(sums), rtol=1e-6, atol=1e-7)
        moved += float((value.double() - parts[0][name].double()).square().sum())
        size += float(parts[0][name].double().square().sum())
    assert summary["distance"] == pytest.approx((moved / size) ** 0.5)
    assert summary["notes"] == []
    assert locate_model(str(tmp_path / "out")).fingerprint == summary["model"]
    assert oracle.load_model(tmp_path / "out") is not None
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (models[0] / "tokenizer.json").read_bytes()


@pytest.mark.slow
def test_a_finished_one_is_found_verified_and_never_replaced(tmp_path: Path, models: list[Path]) -> None:
    out = tmp_path / "out"
    first = merged(out, models[:2], [1.3, -0.3])
    again = merged(out, models[:2], momentum=0.3)  # the same sum, said otherwise
    assert (first["was_complete"], again["was_complete"]) == (False, True)
    assert again["fingerprint"] == first["fingerprint"]
    assert tiny.grao_json("verify", out, "--look-in", models[0].parent)["problems"] == []
    assert tiny.grao_json("inspect", out)["kind"] == "model"
    other = tiny.grao("merge", out, "--model", models[0], "--model", models[1])
    assert (other.exit_code, "holds the model" in other.stderr) == (1, True)
    changed = tensors(out)
    changed[next(iter(changed))] += 1
    save_file(changed, out / "model.safetensors", metadata={"format": "pt"})
    damaged = tiny.grao("merge", out, "--model", f"{models[0]}=1.3", "--model", f"{models[1]}=-0.3")
    assert (damaged.exit_code, "model.safetensors" in damaged.stderr) == (1, True)


def test_a_model_that_it_did_not_make_is_never_overwritten(tmp_path: Path, models: list[Path]) -> None:
    """Here one of the merged ones, which has no manifest."""
    mine = tmp_path / "mine"
    shutil.copytree(models[0], mine)
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    refused = tiny.grao("merge", mine, "--model", mine, "--model", models[1])
    assert (refused.exit_code, "which this command did not write" in refused.stderr) == (1, True)
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before


def test_a_killed_one_is_resumed_and_replaced_by_no_other(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the manifest: the weights are there, and belong to this merge."""
    out = tmp_path / "out"
    options = MergeOptions.model_validate({"model": [f"{models[0]}=0.5", f"{models[1]}=0.5"]})
    with monkeypatch.context() as patch:
        patch.setattr("grao_pipeline.training.checkpoints.model_directory.record_files", interrupted)
        with pytest.raises(KeyboardInterrupt):
            merge_models(str(out), options)
    assert (out / "model.safetensors").is_file()
    with pytest.raises(MismatchError, match="holds the unfinished model"):
        merge_models(str(out), MergeOptions.model_validate({"model": [str(models[2])]}))
    merge_models(str(out), options)
    merge_models(str(tmp_path / "undisturbed"), options)
    names = [{path.name for path in (tmp_path / place).iterdir()} for place in ("out", "undisturbed")]
    assert names[0] == names[1]
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "undisturbed/model.safetensors").read_bytes()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_weights_that_are_no_mean_are_said(tmp_path: Path, models: list[Path]) -> None:
    summary = merged(tmp_path / "out", models[:2], [1.0, 1.0])
    assert summary["notes"] == ["The weights sum to 2: the result is not a mean of the models, but scaled."]


def test_precision_is_that_of_the_first_model_and_the_sum_is_rounded_once(tmp_path: Path, models: list[Path]) -> None:
    half = tmp_path / "half"
    shutil.copytree(models[0], half)
    stored = {name: value.bfloat16() for name, value in tensors(models[0]).items()}
    save_file(stored, half / "model.safetensors", metadata={"format": "pt"})
    merged(tmp_path / "out", [half, models[1]])
    name, value = next(iter(tensors(tmp_path / "out").items()))
    expected = (0.5 * stored[name].float() + 0.5 * tensors(models[1])[name]).bfloat16()
    assert value.dtype == torch.bfloat16
    assert torch.equal(value, expected)


def test_models_of_another_architecture_are_refused(tmp_path: Path, models: list[Path]) -> None:
    wide = tiny.make_model(tmp_path / "wide", intermediate_size=96)
    with pytest.raises(InputError, match=r"wide is not of the architecture of .*'intermediate_size' in config\.json"):
        merge_models(str(tmp_path / "out"), MergeOptions.model_validate({"model": [str(models[0]), str(wide)]}))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"model": ["a=1", "b"]}, "give every --model a weight, or none: the others have one"),
        ({"model": ["a=1", "b=2"], "momentum": 0.5}, "--momentum decides the weights"),
        ({"model": ["a", "b", "c"], "average": 0.5}, "of two models, a later and an earlier one; found 3"),
        ({"model": ["a", "b"], "average": 0.5, "momentum": 0.5}, "give --momentum or --average, not both"),
        ({"model": ["a=much", "b=1"]}, "the weight 'much' is not a number"),
    ],
)
def test_weights_that_contradict_each_other_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        MergeOptions.model_validate(options)


def test_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the models to merge"):
        merge_models(str(tmp_path / "out"), MergeOptions())
