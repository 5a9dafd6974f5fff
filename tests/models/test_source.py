"""Where a model lies, and what is said where it lies nowhere."""

from pathlib import Path

import pytest

from grao_pipeline.errors import InputError
from grao_pipeline.models.source import first_line, locate_model


def test_a_misspelled_directory_is_answered_with_the_one_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/base").mkdir(parents=True)
    with pytest.raises(InputError, match=r"^Model 'models/bas' is not a directory here.*\. Did you mean base\?$"):
        locate_model("models/bas")
    with pytest.raises(InputError, match=r"^Model 'nowhere/bas' is not a directory here.*[^?]$"):
        locate_model("nowhere/bas")


@pytest.mark.parametrize(
    ("message", "first"),
    [
        ("Got: ConnectError: no such host\nAn error happened", "ConnectError: no such host"),
        ("It has problems:\n  the first", "It has problems: the first"),
        ("", "ValueError('')"),
    ],
)
def test_the_first_line_of_another_programs_error(message: str, first: str) -> None:
    assert first_line(ValueError(message)) == first
