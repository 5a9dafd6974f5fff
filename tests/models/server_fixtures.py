"""For test modules that say `pytest_plugins = ["tests.models.server_fixtures"]`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.vllm_server import VllmServer


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[VllmServer]:
    """A real server of the tiny model, which it calls `tiny`: one for the whole session."""
    with VllmServer(model, tmp_path_factory.mktemp("server") / "log") as server:
        yield server
