"""The house: a file imports only from lower floors, and heavy packages stay in the leaves."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from grao_pipeline.cli.main import OTHER_COMMANDS
from grao_pipeline.pipeline import STAGES, stages

ROOT = Path(__file__).parents[1]
COMMANDS = [*(stage.name for stage in stages()), *OTHER_COMMANDS]
FLOORS = {
    "errors": 0,
    "redaction": 0,
    "files": 0,
    "json_text": 0,
    "contract": 0,
    "schemas": 0,
    "messages": 0,
    "options": 0,
    "other_names": 0,
    "cache_directory": 0,
    "checksums": 0,
    "fingerprints": 0,
    "plugins": 0,
    "plugin_kinds": 1,
    "plugin_functions": 0,
    "plugin_modules": 0,
    "plugin_source": 0,
    "own_code": 0,
    "parsing": 0,
    "processes": 0,
    "environment": 0,
    "free_port": 0,
    "amounts": 0,
    "garbage": 0,
    "progress": 0,
    "presets": 0,
    "arguments": 0,
    "methods": 0,
    "schedules": 0,
    "lazy": 0,
    "published": 0,
    "notes": 0,
    "ray_cluster": 0,
    "ray_commands": 1,
    "pipeline": 3,
    "training_stages": 2,
    "prompt_stages": 2,
    "stage": 1,
    "options_file": 1,
    "children": 0,
    "relay": 0,
    "share_processes": 0,
    "shares": 1,
    "storage": 1,
    "models": 1,
    "tracking": 1,
    "prompts": 2,
    "generation": 2,
    "advantages": 2,
    "training": 2,
    "scoring": 3,
    "evaluation": 3,
    "importing": 3,
    "exporting": 3,
    "reward_checks": 4,
    "references": 4,
    "rounds": 4,
    "inspection": 4,
    "lineage": 5,
    "testing": 5,
    "report": 5,
    "hub": 6,
    "doctor": 6,
    "view": 6,
    "cli": 7,
    "nursery": 9,
    "worker": 8,
    "worker_protocol": 0,
    "residence": 0,
    "loaded_code": 0,
}
HEAVY = ("torch", "transformers", "vllm", "datasets", "polars")


Name = tuple[str, ...]
"""A module, e.g. `("grao_pipeline", "storage", "writer")`."""
MODULES: dict[Name, Path] = {
    path.relative_to(ROOT).with_suffix("").parts: path for path in sorted((ROOT / "grao_pipeline").rglob("*.py"))
}
PACKAGES = [name[:-1] for name in MODULES if name[-1] == "__init__"]


@cache
def imports_of(module: Name) -> set[Name]:
    """Modules that a module imports, wherever in it."""
    imported: set[Name] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            imported.update(tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{MODULES[module]}, line {node.lineno}: a relative import; write the whole name."
            package = tuple(node.module.split("."))
            imported.update(
                (*package, alias.name) if (*package, alias.name) in MODULES else package for alias in node.names
            )
    return imported


def wrong_imports(module: Name) -> Iterator[str]:
    """What a file must not import."""
    room = module[1]
    for name in imports_of(module):
        if room != "cli" and name[0] == "click":
            yield f"{MODULES[module]} imports click"
        if name[0] == "grao_pipeline" and len(name) > 1:
            other = name[1]
            is_near = other == room or FLOORS[other] == FLOORS[room] < 2
            if not is_near and FLOORS[other] >= FLOORS[room]:
                yield f"{MODULES[module]} imports upward: {'.'.join(name)}"


def test_a_file_imports_only_from_lower_floors_or_its_own_folder() -> None:
    modules = [name for name in MODULES if len(name) > 2 or name[1][0] != "_"]
    wrong = [fault for module in modules for fault in wrong_imports(module)]
    assert not wrong, "\n".join(wrong)


def test_the_floors_in_the_documents_are_those_of_the_code() -> None:
    """Of floor 0 the table names some."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    documented = {
        name.removesuffix(".py"): int(floor)
        for floor, names in re.findall(r"^\| (\d) \| (`[^|]+) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+(?:\.py)?)`", names)
    }
    assert {name: floor for name, floor in documented.items() if floor} == {n: f for n, f in FLOORS.items() if f}
    assert {FLOORS[name] for name, floor in documented.items() if floor == 0} == {0}


@pytest.mark.parametrize("package", PACKAGES, ids=".".join)
def test_no_circle_in_a_package(package: Name) -> None:
    """The files and folders of every package have an order in which each imports only from earlier ones."""
    depth = len(package)
    arrows: dict[str, set[str]] = {}
    for module in MODULES:
        if module[:depth] == package:
            imported = ((*name, "__init__")[depth] for name in imports_of(module) if name[:depth] == package)
            arrows.setdefault(module[depth], set()).update(name for name in imported if name != module[depth])
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"{'.'.join(package)} has a circle: {' imports '.join(reversed(error.args[1]))}")


@pytest.mark.slow
def test_help_loads_no_heavy_package_and_shows_an_example() -> None:
    """One process, so that a package that any of them loads stays loaded; the first that loads one is named."""
    commands = [[], *([name] for name in COMMANDS), *(["rounds", verb] for verb in ("run", "plan"))]
    code = f"""
import contextlib, io, sys
from grao_pipeline.cli.main import main
for arguments in {commands!r}:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*arguments, "--help"], prog_name="grao")
    assert "Example:" in output.getvalue() or "Examples:" in output.getvalue(), arguments
    assert not set({HEAVY!r}) & sys.modules.keys(), (arguments, set({HEAVY!r}) & sys.modules.keys())
print("all")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert process.stdout == "all\n", process.stderr


def loaded_with(modules: Sequence[str], names: Sequence[str]) -> list[str]:
    """Which of these names a new process has loaded after it imported modules of ours."""
    imports = ", ".join(f"grao_pipeline.{module}" for module in modules)
    code = f"import sys, json, {imports}; print(json.dumps([name for name in {names!r} if name in sys.modules]))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded: list[str] = json.loads(process.stdout)
    return loaded


@pytest.mark.slow
def test_advantages_needs_neither_torch_nor_transformers() -> None:
    modules = ["advantages.compute", "evaluation.evaluate", "prompts.curriculum", "training.provenance"]
    assert loaded_with(modules, ["torch", "transformers", "vllm", "datasets"]) == []


@pytest.mark.slow
def test_the_sample_browser_starts_without_the_rounds() -> None:
    """They would be a third of its start."""
    assert loaded_with(["view.serve"], ["grao_pipeline.rounds.config.compile"]) == []


@pytest.mark.slow
def test_the_processes_of_rounds_can_start_before_the_loop_is_imported() -> None:
    modules = ["cli.rounds", "rounds.executors.resident", "rounds.run"]
    assert loaded_with(modules, ["grao_pipeline.rounds.loop", "polars", "pyarrow", "numpy"]) == []


@pytest.mark.slow
def test_every_stage_also_runs_as_a_script() -> None:
    """One is started; those of the other stages are the same but for the name."""
    command = [sys.executable, str(ROOT / "stages" / "score.py"), "-h"]
    assert "Usage:" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    score = (ROOT / "stages" / "score.py").read_text()
    files = {stage.name: "import_groups" if stage.name == "import" else stage.name for stage in STAGES}
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {*files.values(), "rounds"}
    for name, file in files.items():
        expected = re.sub(r"\bscore\b", name, score).replace(f"stages/{name}.py", f"stages/{file}.py")
        assert (ROOT / "stages" / f"{file}.py").read_text() == expected
