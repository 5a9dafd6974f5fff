"""What a person sees: a live bar on a terminal, lines in a pipe, nothing with `-q`, more with `-v`."""

import json
import logging
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grao_pipeline.cli.console import LIBRARIES, configure_logging, log_level
from grao_pipeline.cli.lines import LineProgress
from grao_pipeline.errors import UsageError
from tests import tiny
from tests.commands import Command

ROOT = Path(__file__).parents[2]
LENGTH = ("--reward", "length", "--reward-arg", "target=3")
ESCAPE = "\x1b["


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "grao_pipeline", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **changes}


def on_a_terminal(*arguments: object) -> tuple[str, str]:
    """(standard output, what a terminal at standard error received) of a command that must succeed."""
    ours, theirs = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                received.append(data)
        except OSError:  # how Linux reports that nobody writes any more
            pass

    reader = threading.Thread(target=read)
    reader.start()
    process = subprocess.run(
        command(*arguments), stdout=subprocess.PIPE, stderr=theirs, env=environment(), text=True, check=False
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    seen = b"".join(received).decode()
    assert process.returncode == 0, seen
    return process.stdout, seen


def in_a_pipe(*arguments: object, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), capture_output=True, env=environment(**changes), text=True, check=False)


def in_a_fork(*arguments: object, **changes: str) -> tuple[str, str, int | None]:
    """Standard output, standard error and return code of a command that is not the first to import torch."""
    process = Command(*arguments, environment=environment(**changes))
    return *process.communicate(), process.returncode


@pytest.mark.slow
def test_a_terminal_shows_a_bar_that_is_gone_at_the_end(tmp_path: Path, groups: str) -> None:
    stdout, seen = on_a_terminal("score", groups, tmp_path / "out", *LENGTH, "--json")
    assert json.loads(stdout)["statuses"] == {"ok": 40}
    assert ESCAPE not in stdout
    assert "starting" in seen
    assert "10/10 groups" in seen
    assert "cache misses" in seen
    assert "━" in seen
    assert "part 0 committed" not in seen  # the bar says so
    assert seen.endswith(f"{ESCAPE}2K")  # the last line that was drawn is erased


@pytest.mark.slow
def test_a_training_on_a_terminal_shows_loading_and_the_newest_step(tmp_path: Path, model: Path, groups: str) -> None:
    scores, advantages = tmp_path / "scores", tmp_path / "advantages"
    tiny.grao_json("score", groups, scores, *LENGTH)
    tiny.grao_json("advantages", groups, advantages, "--scores", scores)
    _, seen = on_a_terminal("train", groups, advantages, tmp_path / "model", "--model", model, "-v")
    assert f"loading {model}"[:40] in seen
    assert "steps" in seen
    for fact in ("J ", "reward ", "grad norm ", "tokens/s"):
        assert fact in seen
    assert "step 1/" in seen  # -v prints the lines of a log file above the bar


@pytest.mark.slow
def test_a_pipe_receives_lines_and_nothing_else(tmp_path: Path, groups: str) -> None:
    process = in_a_pipe("score", groups, tmp_path / "out", *LENGTH)
    assert process.returncode == 0
    lines = [line for line in process.stderr.splitlines() if line != "starting …"]  # the machine may be busy
    assert [line.partition(" · ")[0] for line in lines] == [f"part {index} committed" for index in range(3)]
    assert ESCAPE not in process.stderr
    assert "Scores:" in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("options", "changes"), [(["-q"], {}), (["--quiet"], {}), ([], {"GRAO_LOG": "warning"})])
def test_quiet_prints_nothing_but_the_summary(
    tmp_path: Path, groups: str, options: list[str], changes: dict[str, str]
) -> None:
    stdout, stderr, returncode = in_a_fork("score", groups, tmp_path / "out", *LENGTH, *options, **changes)
    assert (returncode, stderr) == (0, "")
    assert "Scores:" in stdout


def test_quiet_still_prints_warnings(tmp_path: Path, groups: str) -> None:
    tiny.grao_json("score", groups, tmp_path / "out", *LENGTH)
    (tmp_path / "out" / "part-000001.parquet").write_bytes(b"damaged")
    result = tiny.grao("score", groups, tmp_path / "out", *LENGTH, "-q")
    assert result.exit_code == 0
    assert "part-000001.parquet is damaged" in result.stderr
    assert "committed" not in result.stderr


@pytest.mark.slow
def test_only_the_first_of_torchruns_processes_prints(tmp_path: Path, groups: str) -> None:
    assert in_a_fork("score", groups, tmp_path / "out", *LENGTH, RANK="1")[1] == ""


def test_quiet_and_verbose_together_and_an_unknown_level_are_refused(
    tmp_path: Path, groups: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = tiny.grao("score", groups, tmp_path / "out", *LENGTH, "-q", "-v")
    assert both.exit_code == 2
    assert "Give --quiet or --verbose, not both." in both.stderr
    monkeypatch.setenv("GRAO_LOG", "loud")
    unknown = tiny.grao("score", groups, tmp_path / "out", *LENGTH)
    assert unknown.exit_code == 2
    assert "GRAO_LOG=loud: expected one of debug, info, warning." in unknown.stderr


def test_flags_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAO_LOG", "DEBUG")
    assert [log_level(False, False), log_level(True, False), log_level(False, True)] == ["debug", "warning", "debug"]
    with pytest.raises(UsageError):
        log_level(True, True)


def test_a_flag_leaves_the_environment_as_it_was(tmp_path: Path, groups: str) -> None:
    assert tiny.grao("score", groups, tmp_path / "out", *LENGTH, "-v").exit_code == 0
    assert "GRAO_LOG" not in os.environ


@pytest.fixture
def levels() -> Iterator[None]:
    """The levels of the libraries' loggers are put back."""
    before = {name: logging.getLogger(name).level for name in LIBRARIES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_logs_of_libraries_are_let_through_with_verbose_alone(levels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRANSFORMERS_VERBOSITY", "VLLM_LOGGING_LEVEL", "DATASETS_VERBOSITY"):
        monkeypatch.delenv(name, raising=False)
    configure_logging("info")
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)
    assert not logging.getLogger("transformers").isEnabledFor(logging.WARNING)
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")  # the user's own wish
    configure_logging("debug")
    assert all(logging.getLogger(name).isEnabledFor(logging.INFO) for name in LIBRARIES)
    assert (os.environ["TRANSFORMERS_VERBOSITY"], os.environ["VLLM_LOGGING_LEVEL"]) == ("info", "DEBUG")


def test_a_phase_is_named_once_it_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    with LineProgress("info", phase_seconds=60.0).track("loading a"):
        pass
    with LineProgress("info", phase_seconds=0.0).track("loading b"):
        deadline = time.monotonic() + 30
        while not (text := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert text == "loading b …\n"


@pytest.mark.slow
def test_a_phase_that_has_said_something_is_not_named_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    progress = LineProgress("info", phase_seconds=0.3)
    with progress.track("starting"):
        progress.note("step 1")
        time.sleep(0.6)
    assert capsys.readouterr().err == "step 1\n"


def test_a_log_file_mentions_a_task_from_time_to_time(capsys: pytest.CaptureFixture[str]) -> None:
    with LineProgress("info", line_seconds=0.0).track("reading rows", 3, "rows") as bar:
        bar.advance(1, dropped=0)
    assert capsys.readouterr().err.startswith("reading rows: 1/3 rows · ")
    with LineProgress("info").track("reading rows", 3, "rows") as bar:
        bar.advance(1)
    assert capsys.readouterr().err == ""
