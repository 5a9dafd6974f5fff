"""What the documents show works: their Python runs, their commands exist, their YAML compiles."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from grao_pipeline.cli.main import main
from grao_pipeline.rounds.config.compile import load_plan
from tests import tiny
from tests.website.pages import DOCUMENTS, ROOT, RUN, blocks, commands, name_of, run_page

PAGES_THAT_RUN = [
    path for path in DOCUMENTS if any(b.language == "python" and b.is_run for b in blocks(path.read_text()))
]
PLACEHOLDER = re.compile(r"…|\$|\[|\||\.\.\.|\b[A-Z]+(?:\.yaml)?\b")
"""What stands for words that the reader fills in."""
CONFIGURATION = re.compile(r"^output: .*^model: ", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to run a page in; modules of other pages and tests are forgotten: their names are the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget_modules(tmp_path_factory.getbasetemp())
    yield tmp_path
    _forget_modules(tmp_path)


def _forget_modules(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{folder}/"):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in PAGES_THAT_RUN if RUN.search(path.read_text())], ids=name_of)
def test_a_page_runs_from_top_to_bottom_in_an_empty_directory(path: Path, place: Path) -> None:
    run_page(path)
    assert os.listdir(place)


def test_getting_started_is_run() -> None:
    """Whatever becomes of the marks."""
    text = (ROOT / "docs" / "getting-started.md").read_text()
    assert RUN.search(text)
    run = [block.text for block in blocks(text) if block.is_run and block.language == "bash"]
    stages = {words[0] for words in commands("".join(f"```bash\n{block}```\n" for block in run))}
    assert stages >= {"prompts", "generate", "score", "advantages", "train", "evaluate", "report", "verify"}


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES_THAT_RUN if not RUN.search(path.read_text()) and path.name != "python-api.md"],
    ids=name_of,
)
def test_the_python_of_a_document_runs(path: Path, place: Path) -> None:
    """That of python-api.md has its own test."""
    run_page(path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_in_a_document_is_one_that_click_accepts(path: Path) -> None:
    """The commands, their options, and values that are one of a few. Where words are left out, only the options."""
    wrong = [
        f"grao {' '.join(words)}: {problem}" for words in commands(path.read_text()) if (problem := refusal(words))
    ]
    assert not wrong, "\n".join(wrong)


def refusal(words: list[str]) -> str | None:
    """Why Click refuses a command line; None where it does not."""
    is_complete = not any(PLACEHOLDER.search(word) for word in words)
    command: click.Command = main
    path = "grao"
    while isinstance(command, click.Group):
        name = words[0] if words else ""
        if not re.fullmatch(r"[a-z][a-z-]*", name):
            return None  # `grao COMMAND …`, `grao --help`
        subcommand = command.get_command(click.Context(command), name)
        if subcommand is None:
            return f"there is no command '{name}'"
        command, path, words = subcommand, f"{path} {name}", words[1:]
    if is_complete and len(words) > sum(word.startswith("-") for word in words):
        return _parsed(command, path, words)
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    given = {match[0] for word in words for match in [re.match(r"--?[a-z][\w-]*", word)] if match}
    unknown = sorted(given - flags - {"--help", "-h", "--json", "-q", "-v"})
    return f"there is no option {', '.join(unknown)}" if unknown else None


def _parsed(command: click.Command, path: str, words: list[str]) -> str | None:
    try:
        command.make_context(path, list(words), resilient_parsing=False)
    except click.exceptions.Exit:
        return None  # --help
    except click.UsageError as error:
        if "Missing argument" in error.format_message():  # a sentence names the options alone
            return None
        return error.format_message()
    return None


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("score runs/groups runs/x --rewards gsm8k", "No such option '--rewards'"),
        ("train G A … --learning-rat 1e-6", "no option --learning-rat"),
        ("roundz plan rounds.yaml", "no command 'roundz'"),
        ("train g a m --model b --schedule cosinus", "is not one of"),
        ("score runs/groups runs/x --reward gsm8k", None),
    ],
)
def test_a_wrong_command_would_be_found(words: str, problem: str | None) -> None:
    assert (refusal(words.split()) is None) == (problem is None)
    assert (problem or "") in (refusal(words.split()) or "")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_whole_configuration_in_a_document_compiles(path: Path, tmp_path: Path) -> None:
    """Reward models, whose configuration is read, are tiny ones."""
    for block in blocks(path.read_text()):
        if block.language == "yaml" and CONFIGURATION.search(block.text):
            text = block.text
            if "reward: reward-model" in text:
                text = re.sub(r"model=[\w./-]+", f"model={tiny.make_reward_model(tmp_path / 'rm')}", text)
            (tmp_path / "rounds.yaml").write_text(text)
            assert load_plan(str(tmp_path / "rounds.yaml")).variants


def test_no_page_names_a_document_that_is_gone() -> None:
    """A path in running text, such as docs/rounds.md."""
    for path in DOCUMENTS:
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text()):
            assert (ROOT / name).is_file(), f"{name_of(path)}: {name}"
