"""A page in a browser, and what it did that it should not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Scheme = Literal["light", "dark"]
PATIENCE = 40
"""Seconds; a machine may be busy."""
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}


@dataclass
class Visit:
    """An open page.

    Attributes:
        requests: addresses that it asked for, but the page itself.
        problems: messages on its console, errors of its scripts, dialogs.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def serious_violations(self) -> list[str]:
        """Of the rules of axe-core."""
        from axe_playwright_python.sync_playwright import Axe

        results = Axe().run(self.page).response["violations"]
        return [
            f"{violation['id']}: {node['html']}"
            for violation in results
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"][:2]
        ]


@contextmanager
def visit(browser: Any, address: str, size: str = "desktop", scheme: Scheme = "light") -> Iterator[Visit]:
    """Open an address in a new profile.

    Args:
        address: a URL; that of a file may not be left.
    """
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=False)
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    seen = Visit(page)

    def stop(dialog: Any) -> None:
        seen.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: seen.problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.problems.append(f"error: {error}"))
    page.on("dialog", stop)
    page.on("request", lambda request: None if request.url == address else seen.requests.append(request.url))
    try:
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        yield seen
    finally:
        context.close()


def on_disk(path: Path) -> str:
    """The address of a file."""
    return path.resolve().as_uri()


def wait_until(page: Any, expression: str) -> None:
    """Wait until a JavaScript expression is true. playwright's own way needs eval, which our pages forbid."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(25)
