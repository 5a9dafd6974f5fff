"""The pictures of docs/seeing.md, of any report: `python -m website.screenshots runs/demo-report.html docs/images`.

Those in the repository are of `make demo`. The tests of the browser take those of a run that they make.
"""

import shutil
from pathlib import Path
from typing import Any

import click

WIDTH, HEIGHT = 1280, 800


def take(browser: Any, report: Path, folder: Path) -> list[Path]:
    """Write report.png and samples.png, the beginnings of the two views of a report.

    Args:
        browser: of playwright.
    """
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    paths = [folder / "report.png", folder / "samples.png"]
    try:
        for path, view, shown in zip(paths, ("#report", "#samples"), ("figure svg[role=img]", ".card"), strict=True):
            page.goto(f"{report.resolve().as_uri()}{view}")
            page.wait_for_selector(f"html[data-ready] {shown}")
            page.screenshot(path=str(path))
    finally:
        page.close()
    return paths


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(report: Path, folder: Path) -> None:
    """Take the pictures of REPORT, and write them to FOLDER."""
    from playwright.sync_api import sync_playwright

    command = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=command, args=["--no-sandbox"])
        print(*take(browser, report, folder))


if __name__ == "__main__":
    main()
