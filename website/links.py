"""Where a link of a document of the repository leads on the site."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "results.md",
}
"""Documents outside docs/ that are pages as well: path in the repository → path on the site."""
SOURCES = "source"
"""Folder of the site with the files of the repository that pages link to."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")


def origin_of(page: str) -> str:
    """Path in the repository of a page of the site."""
    return next((origin for origin, path in DOCUMENTS.items() if path == page), f"docs/{page}")


def on_site(target: str) -> str:
    """Path on the site of a file of the repository."""
    if target in DOCUMENTS:
        return DOCUMENTS[target]
    if (ROOT / target).is_dir():
        return f"{SOURCES}/{target}/index.html"
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{SOURCES}/{target}"


def rewritten(markdown: str, page: str) -> str:
    """The text of a page, its links within the repository made links within the site."""
    folder, origin = posixpath.dirname(page), posixpath.dirname(origin_of(page))

    def replace(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(origin, match[1]))
        return posixpath.relpath(on_site(target), folder or ".") + (match[2] or "")

    return LINK.sub(replace, markdown)


def linked_files() -> set[str]:
    """Files and folders of the repository, outside docs/ and no pages, that a document links to."""
    texts = {origin: (ROOT / origin).read_text() for origin in DOCUMENTS}
    texts |= {str(path.relative_to(ROOT)): path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
    targets = {
        posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[1]))
        for origin, text in texts.items()
        for match in LINK.finditer(text)
    }
    return {target for target in targets if on_site(target).startswith(f"{SOURCES}/") and (ROOT / target).exists()}
