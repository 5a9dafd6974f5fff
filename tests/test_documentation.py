"""Docs cannot drift: commands, tree and version are those of the code."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from grao_pipeline import __version__
from grao_pipeline.cli.main import OTHER_COMMANDS, main
from grao_pipeline.pipeline import stages

ROOT = Path(__file__).parents[1]
COMMANDS = [*(stage.name for stage in stages()), *OTHER_COMMANDS]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_layout_in_the_documents_is_the_tree_of_folders() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "grao_pipeline", "stages", "examples"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    files = [Path(name) for name in listed.stdout.split() if (ROOT / name).is_file()]
    folders = {f"{path.parent}/" for path in files if path.suffix == ".py"}
    documents = README + (ROOT / "docs" / "architecture.md").read_text()
    assert sorted(re.findall(r"^\| `(\S+/)` \|", documents, re.MULTILINE)) == sorted(
        {*folders, "tests/", "benchmarks/"}
    )


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"grao {name}" in README


def test_every_option_has_a_help_text() -> None:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for one in commands:
            assert one.get_short_help_str()
            for parameter in one.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, f"{name} {parameter.name}"


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    match = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert match is not None
    assert match[1] == __version__


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_and_links_of_a_document_exist(document: Path) -> None:
    makefile, text = (ROOT / "Makefile").read_text(), document.read_text()
    for target in re.findall(r"^    make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
        assert (document.parent / link).exists(), link


def test_pre_commit_runs_the_ruff_of_make_check() -> None:
    pinned = re.search(r"^ruff==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f"rev: v{pinned[1]}" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_grao_is_the_only_command_that_is_installed() -> None:
    code = "from importlib.metadata import distribution as d; print([e.name for e in d('grao-pipeline').entry_points])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "['grao']"
