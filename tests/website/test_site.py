"""The site builds without a warning, loads nothing from elsewhere, and has every command."""

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from website.commands import command_names
from website.links import ROOT, rewritten


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does: pages that no menu names, links and anchors that lead nowhere are errors."""
    directory = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(directory))
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return directory


def test_the_site_builds_strictly_and_has_a_page_for_every_command(site: Path) -> None:
    assert all((site / "commands" / f"{name}.html").is_file() for name in command_names())
    train = (site / "commands" / "train.html").read_text()
    assert "--learning-rate" in train
    assert "Peak learning rate of AdamW." in train


def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"[^>]*(?:rel="stylesheet")?', page.read_text())
        scripts = re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', page.read_text())
        sheets = re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="(?:https?:)?//', page.read_text())
        assert (scripts, sheets) == ([], []), (page, loaded)


@pytest.mark.parametrize(
    ("link", "page", "expected"),
    [
        ("[a](../CONTRIBUTING.md#code)", "rounds.md", "[a](contributing.md#code)"),
        ("[a](../../benchmarks/RESULTS.md)", "how-to/slurm.md", "[a](../results.md)"),
        ("[a](docs/scoring.md#code)", "security.md", "[a](scoring.md#code)"),
        ("[a](../examples/one_file.py)", "training.md", "[a](source/examples/one_file.py)"),
        ("[a](rounds.md#values)", "training.md", "[a](rounds.md#values)"),
        ("[a](#values) [b](https://arxiv.org/abs/1)", "rounds.md", "[a](#values) [b](https://arxiv.org/abs/1)"),
        ("![p](images/report.png)", "seeing.md", "![p](images/report.png)"),
    ],
)
def test_a_link_of_the_repository_becomes_one_of_the_site(link: str, page: str, expected: str) -> None:
    assert rewritten(link, page) == expected
