"""A finished run, and a browser without a window."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.runs import make_run

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, model: Path, prompts: str) -> Path:
    """The output directory of two variants and two rounds."""
    return make_run(tmp_path_factory.mktemp("reported"), model, prompts)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """One Chromium for all tests: that of the system, or of playwright. While it runs, so does an event loop in this
    thread, so that it must not outlive the package: other tests start theirs.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra dev")
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    with playwright.sync_playwright() as drivers:
        path = command or drivers.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip("needs Chromium: make browser, or apt-get install chromium-headless-shell")
        browser = drivers.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
