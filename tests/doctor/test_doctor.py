"""`grao doctor` does real work, survives what dies, and says what to install."""

from pathlib import Path
from typing import Any

import pytest

from tests import tiny


def states(diagnosis: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {trial["name"]: (trial["state"], trial["detail"]) for trial in diagnosis["trials"]}


@pytest.mark.slow
def test_what_works_was_tried() -> None:
    only = ["devices", "attention split", "attention varlen", "sandbox"]
    diagnosis = tiny.grao_json("doctor", *(word for name in only for word in ("--only", name)))
    by_name = states(diagnosis)
    assert list(by_name) == only
    assert by_name["devices"][0] == "works"
    assert by_name["attention split"][1].startswith("trained a step of ")
    assert by_name["attention varlen"][0] in ("works", "not here")
    assert all(free > 0 for free in diagnosis["disks"].values())


@pytest.mark.slow
def test_a_package_that_breaks_or_dies_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two packages that shadow the installed ones: one raises, one takes its process with it."""
    (tmp_path / "jsonschema.py").write_text("raise RuntimeError('compiled for another machine')\n")
    (tmp_path / "openai.py").write_text("import os; os._exit(7)\n")
    (tmp_path / "torchao.py").write_text("import nothing_of_this_name\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    names = ["package jinja2", "package jsonschema", "package openai", "package starlette", "package torchao"]
    result = tiny.grao("doctor", *(word for name in names for word in ("--only", name)))
    assert result.exit_code == 1
    whole = result.stdout.replace("\n    ", " ")  # what is too long for 80 columns goes below
    lines = {line[2:26].strip(): line for line in whole.splitlines() if line[:2] in ("✓ ", "✗ ", "– ")}
    assert list(lines) == names
    assert "RuntimeError: compiled for another machine" in lines["package jsonschema"]
    assert "its process ended with code 7" in lines["package openai"]
    assert " works " in lines["package starlette"]
    assert "No module named 'nothing_of_this_name'" in lines["package torchao"]
    assert "package openai: its process ended with code 7" in result.stderr


@pytest.mark.slow
def test_what_is_not_installed_comes_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An import hook in the process of the trials hides the package."""
    hook = "import sys\nsys.modules['bitsandbytes'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    diagnosis = tiny.grao_json("doctor", "--only", "package bitsandbytes")
    state, detail = states(diagnosis)["package bitsandbytes"]
    assert (state, "pip install 'grao-pipeline[quantized]'" in detail) == ("not installed", True)


@pytest.mark.slow
def test_packages_have_the_names_of_pip_and_lines_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['math_verify'] = None\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    result = tiny.grao("doctor", "--only", "package math-verify", "--only", "package jinja2")
    assert result.exit_code == 0, result.stderr
    assert "package math-verify      not installed" in result.stdout
    assert "pip install 'grao-pipeline[score]'" in result.stdout
    assert "math_verify" not in result.stdout
    assert [line for line in result.stdout.splitlines() if len(line) > 80 and line.count(" ") > 12] == []


def test_a_misspelled_trial_is_refused_with_the_nearest_one() -> None:
    result = tiny.grao("doctor", "--only", "engine vlm")
    assert (result.exit_code, "Did you mean engine vllm?" in result.stderr) == (2, True)
