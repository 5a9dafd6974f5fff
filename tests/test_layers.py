"""The house: a file imports only from lower floors, and heavy packages stay in the leaves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from grao_pipeline.cli.main import OTHER_COMMANDS
from grao_pipeline.pipeline import stages

ROOT = Path(__file__).parents[1]
COMMANDS = [*(stage.name for stage in stages()), *OTHER_COMMANDS]
FLOORS = {
    "errors": 0,
    "schemas": 0,
    "options": 0,
    "fingerprints": 0,
    "plugins": 0,
    "parsing": 0,
    "processes": 0,
    "progress": 0,
    "arguments": 0,
    "lazy": 0,
    "ray_cluster": 0,
    "pipeline": 2,
    "options_file": 2,
    "children": 0,
    "storage": 1,
    "models": 1,
    "prompts": 2,
    "generation": 2,
    "advantages": 2,
    "training": 2,
    "scoring": 3,
    "evaluation": 3,
    "importing": 3,
    "rounds": 4,
    "inspection": 4,
    "cli": 5,
    "testing": 5,
}
HEAVY = ("torch", "transformers", "vllm", "datasets", "polars")


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "grao_pipeline").rglob("*.py")), ids=lambda path: path.stem)
def test_a_file_imports_only_from_lower_floors_or_its_own_folder(path: Path) -> None:
    parts = path.relative_to(ROOT / "grao_pipeline").with_suffix("").parts
    if parts in (("__init__",), ("__main__",)):
        return
    for module in imports_of(path):
        assert parts[0] == "cli" or not module.startswith("click"), f"{path} imports {module}"
        if module.startswith("grao_pipeline."):
            other = module.split(".")[1]
            same_room = other == parts[0] or FLOORS[other] == FLOORS[parts[0]] < 2
            assert same_room or FLOORS[other] < FLOORS[parts[0]], f"{path} imports upward: {module}"


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS), *(["rounds", v] for v in ("run", "plan"))])
def test_help_loads_no_heavy_package_and_shows_an_example(arguments: list[str]) -> None:
    code = f"""
import sys
from grao_pipeline.cli.main import main
try:
    main({arguments!r} + ["--help"], prog_name="grao")
finally:
    print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "LOADED []" in process.stdout
    assert "Example:" in process.stdout or "Examples:" in process.stdout


def test_advantages_needs_neither_torch_nor_transformers() -> None:
    code = """
import sys
import grao_pipeline.advantages.compute, grao_pipeline.evaluation.evaluate, grao_pipeline.prompts.curriculum
import grao_pipeline.training.provenance
print([name for name in ("torch", "transformers", "vllm", "datasets") if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert process.stdout.strip() == "[]"


def test_every_command_also_runs_as_a_script() -> None:
    for script in sorted((ROOT / "stages").glob("*.py")):
        command = [sys.executable, str(script), "--help"]
        assert "Usage:" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
