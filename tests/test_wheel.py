"""The wheel holds the library, all of its files, and nothing else; what it installs starts."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from grao_pipeline import __version__

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this tree, without a network."""
    pytest.importorskip("hatchling", reason="the build needs hatchling, which the extra dev has: make setup")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """What pip unpacks into `site-packages`."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "site-packages")
    return wheel.parent / "site-packages"


def grao(installed: Path, folder: Path, *words: str) -> str:
    """Run the command of the wheel in a directory from which the tree cannot be imported."""
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import grao_pipeline\n"
        f"assert grao_pipeline.__file__.startswith({str(installed)!r}), grao_pipeline.__file__\n"
        f"sys.argv = ['grao', *{words!r}]; from grao_pipeline.__main__ import run; run()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_wheel_holds_the_files_of_the_library_and_no_others(installed: Path) -> None:
    assert {path.name for path in installed.iterdir()} == {"grao_pipeline", f"grao_pipeline-{__version__}.dist-info"}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "grao_pipeline"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = {str(path.relative_to(installed)) for path in (installed / "grao_pipeline").rglob("*") if path.is_file()}
    assert files == {name for name in listed if (ROOT / name).is_file()}
    for name in ("py.typed", "report/assets/page.html", "rounds/config/templates/start.yaml"):
        assert f"grao_pipeline/{name}" in files


def test_the_command_of_the_wheel_starts(installed: Path, tmp_path: Path) -> None:
    """It also finds a template of rounds, which is data."""
    [points] = installed.glob("*.dist-info/entry_points.txt")
    assert "grao = grao_pipeline.__main__:run" in points.read_text().splitlines()
    assert grao(installed, tmp_path, "--version") == f"grao, version {__version__}\n"
    grao(installed, tmp_path, "rounds", "init")
    assert (tmp_path / "rounds.yaml").read_bytes()
