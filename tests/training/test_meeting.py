"""Machines that train together: what they are told where they do not meet."""

import socket
from pathlib import Path

import pytest

from grao_pipeline.training import launch
from tests import tiny


@pytest.fixture
def arguments(groups: str, advantages: str, model: Path, tmp_path: Path) -> list[object]:
    return [groups, advantages, tmp_path / "out", "--model", model, "--nodes", 2]


@pytest.mark.parametrize("place", ["node0", "node0:", ":29400", "node0:port", "node0:0", "node0:65536", "node0:-1"])
def test_a_place_is_a_host_and_a_port(arguments: list[object], place: str) -> None:
    result = tiny.grao("train", *arguments, "--rendezvous", place)
    assert result.exit_code == 2
    assert f"--rendezvous {place}: expected HOST:PORT, e.g. node0:29400" in result.stderr


def test_a_host_that_is_not_known_is_named_at_once(arguments: list[object]) -> None:
    result = tiny.grao("train", *arguments, "--rendezvous", "nowhere.invalid:29400")
    assert result.exit_code == 2
    assert "--rendezvous: 'nowhere.invalid:29400': this machine knows no host 'nowhere.invalid'" in result.stderr


def test_a_port_of_another_program_is_no_place(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MEETING_SECONDS", 1)
    with socket.socket() as other:
        other.bind(("localhost", 0))
        place = f"localhost:{other.getsockname()[1]}"
        result = tiny.grao("train", *arguments, "--rendezvous", place)
    assert result.exit_code == 1
    assert f"The 2 machines did not meet at {place}" in result.stderr
    assert "the same --nodes and --rendezvous" in result.stderr
    assert not Path(str(arguments[2])).exists()
