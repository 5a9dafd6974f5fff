"""Completion in a shell: commands, options, values and plug-ins, from the script that the documents name."""

import subprocess
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]


def completed(words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash offers for the last word, an empty one after a blank."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    monkeypatch.setenv("_GRAO_COMPLETE", "bash_complete")
    return tiny.grao().stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("grao adv", ["plain,advantages"]),
        ("grao rounds st", ["plain,status"]),
        ("grao train --max-g", ["plain,--max-grad-norm"]),
        ("grao train --attention v", ["plain,varlen"]),
        ("grao score groups out --reward judge-p", ["plain,judge-pairwise"]),
        ("grao advantages groups out --estimator max", ["plain,max-rl"]),
        ("grao export groups out --format k", ["plain,kto"]),
        ("grao score runs/gr", ["file,runs/gr"]),
        ("grao verify runs/mo", ["file,runs/mo"]),
    ],
)
def test_the_shell_completes(words: str, offers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(words, monkeypatch) == offers


def test_the_script_for_bash_is_valid_and_defines_the_completion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The line of the documents: eval "$(_GRAO_COMPLETE=bash_source grao)"."""
    assert 'eval "$(_GRAO_COMPLETE=bash_source grao)"' in (ROOT / "docs" / "getting-started.md").read_text()
    monkeypatch.setenv("_GRAO_COMPLETE", "bash_source")
    script = tmp_path / "script"
    script.write_text(f"{tiny.grao().stdout}\ncomplete -p grao\n")
    process = subprocess.run(["bash", "--norc", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "complete -o nosort -F _grao_completion grao"
