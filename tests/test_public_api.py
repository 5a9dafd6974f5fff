"""The public Python API: light, lazy, typed, of one shape, and its examples run."""

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import grao_pipeline
import grao_pipeline.testing
from grao_pipeline.pipeline import stages
from grao_pipeline.progress import SILENT
from grao_pipeline.stage import Stage
from grao_pipeline.testing import make_tiny_model

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "python-api.md"
EXPORTS = [name for name in grao_pipeline.__all__ if not name.startswith("_")]
HEAVY = ("pydantic", "polars", "torch", "pyarrow", "numpy", "click", "typing", "re")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def typed_names(package: Any) -> dict[str, str]:
    """Name → module of the imports under `if TYPE_CHECKING`."""
    tree = ast.parse(Path(package.__file__).read_text())
    blocks = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    imports = (node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom))
    return {alias.asname or "": str(node.module) for node in imports for alias in node.names}


@pytest.mark.parametrize("package", [grao_pipeline, grao_pipeline.testing], ids=lambda package: str(package.__name__))
def test_type_checkers_see_the_names_that_are_exported(package: Any) -> None:
    assert typed_names(package) == package._EXPORTS.modules
    assert sorted(package.__all__) == sorted(typed_names(package))


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_is_there_and_documented(name: str) -> None:
    value = getattr(grao_pipeline, name)
    assert name in dir(grao_pipeline)
    assert inspect.getdoc(value)


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(grao_pipeline, "score_everything")
    with pytest.raises(ImportError, match="cannot import name 'score_everything'"):
        exec("from grao_pipeline import score_everything")


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import grao_pipeline; print(*sorted(set(sys.modules) - before))"
    loaded = run(code).split()
    assert [name for name in HEAVY if name in loaded] == []
    assert loaded == ["grao_pipeline", "grao_pipeline.lazy"]


@pytest.mark.slow
def test_an_option_model_loads_no_polars_and_no_torch() -> None:
    code = "import sys; from grao_pipeline import GenerateOptions, ScoreOptions; print('polars' in sys.modules)"
    assert run(code).strip() == "False"


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.name)
def test_the_verb_of_every_stage_is_exported_and_has_one_shape(stage: Stage) -> None:
    options = stage.options_model
    verb = getattr(grao_pipeline, stage.verb.partition(":")[2])
    assert getattr(grao_pipeline, options.__name__) is options
    parameters = inspect.signature(verb).parameters.values()
    *inputs, out, given, progress = (item for item in parameters if item.kind is not item.KEYWORD_ONLY)
    assert len(inputs) == len(stage.inputs)
    assert [item.name for item in (out, given, progress)] == ["out", "options", "progress"]
    assert (given.annotation, progress.default) == (options, SILENT)
    assert all(item.default is None for item in parameters if item.kind is item.KEYWORD_ONLY)


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_guide_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace: dict[str, Any] = {"__name__": "guide"}
    output = io.StringIO()
    for number, block in enumerate(python_blocks(GUIDE.read_text())):
        with contextlib.redirect_stdout(output):
            exec(compile(block, f"{GUIDE.name}, block {number}", "exec"), namespace)
    assert "groups teach something" in output.getvalue()
    assert "nag_net" in output.getvalue()
    assert re.search(r"^grao: scoring", output.getvalue(), re.MULTILINE)


def test_the_guide_names_every_export() -> None:
    text = GUIDE.read_text()
    assert [name for name in EXPORTS if not re.search(rf"\b{name}\b", text)] == []
    helpers = [name for name in grao_pipeline.testing.__all__ if name.startswith(("Fake", "make_", "write_"))]
    assert [name for name in helpers if not re.search(rf"\b{name}\b", text)] == []


def imports_in(text: str) -> Iterator[tuple[str, str]]:
    """(module, name) of what a Python file, or the Python of a document, imports from the library."""
    for module, names in re.findall(r"^ *from (grao_pipeline\S*) import (\([^)]*\)|[^#\n]+)", text, re.MULTILINE):
        yield from ((module, name.split()[0]) for name in names.strip("( )").split(",") if name.strip())


PUBLIC_MODULES = re.findall(r"`(grao_pipeline\.[\w.]+)`", GUIDE.read_text())
READ = [
    *(path for path in sorted((ROOT / "examples").rglob("*.py")) if path.name != "thinking.py"),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_and_guides_import_only_what_is_public(path: Path) -> None:
    for module, name in imports_in(path.read_text()):
        assert name in EXPORTS if module == "grao_pipeline" else module in PUBLIC_MODULES, f"{module}: {name}"


def test_every_public_module_exists() -> None:
    assert {"grao_pipeline.prompts.base", "grao_pipeline.testing"} < set(PUBLIC_MODULES)
    for module in PUBLIC_MODULES:
        assert importlib.util.find_spec(module), module


def example_of(function: Callable[..., Any]) -> str:
    """The code of a docstring's example."""
    match = re.search(r"^Example:\n((?:    .*\n|\n)+)", f"{inspect.getdoc(function)}\n", re.MULTILINE)
    assert match, f"{function.__name__} has no example"
    return inspect.cleandoc(match[1])


@pytest.mark.slow
def test_the_examples_in_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each where the ones before it left their tables; of the loop, only the plan."""
    monkeypatch.chdir(tmp_path)
    make_tiny_model("models/base")
    rows = [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(8)]
    responses = [{"prompt": "Say it.", "responses": ["it", "that"], "rewards": [1.0, 0.0]}]
    for path, content in (("questions.jsonl", rows), ("responses.jsonl", responses)):
        Path(path).write_text("".join(json.dumps(row) + "\n" for row in content))
    Path("rounds.yaml").write_text(
        "output: runs/loop\nmodel: models/base\nrounds: 1\nprompts: {train: data/train, eval: data/eval}\n"
        "generate: {engine: transformers}\nscore: {reward: length, reward_arg: [target=10]}\n"
    )
    namespace: dict[str, Any] = {name: getattr(grao_pipeline, name) for name in EXPORTS}
    order = ["build_prompts", "import_groups", "generate_groups", "score_groups", "compute_advantages", "train_model"]
    order += ["verify_chain", "log_run", "push_path", "write_references", "choose_prompts", "inspect_path"]
    order += ["write_report", "open_table", "plan_rounds", "examine_machine"]
    for name in order:
        exec(example_of(getattr(grao_pipeline, name)), namespace)
    for groups in ("runs/eval", "runs/base"):
        write_scored_groups(groups)
    exec(example_of(grao_pipeline.evaluate), namespace)
    assert "run_rounds" in example_of(grao_pipeline.run_rounds)


def write_scored_groups(path: str) -> None:
    """A few samples of the base model, with their scores."""
    options = grao_pipeline.GenerateOptions(model="models/base", engine="transformers", samples=2, max_new_tokens=4)
    grao_pipeline.generate_groups("data/train", path, options)
    score = grao_pipeline.ScoreOptions(reward="length", reward_arg=["target=40"])
    grao_pipeline.score_groups(path, f"{path}-scores", score)
