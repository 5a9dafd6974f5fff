"""What MkDocs calls while it builds: pages that are not files of docs/, and links between all of them."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import commands, links


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give every command its place in the navigation."""
    names = (f"commands/{name}" for name, _ in commands.pages())
    config.nav = [{"Commands": list(names)} if "Commands" in item else item for item in config.nav or ()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the commands, the documents of the repository, and the files that pages link to."""
    for name, text in commands.pages():
        files.append(File.generated(config, f"commands/{name}", content=text))
    for origin, path in links.DOCUMENTS.items():
        files.append(File.generated(config, path, content=(links.ROOT / origin).read_text()))
    for path in sorted(links.linked_files()):
        place = links.ROOT / path
        inside = sorted(place.iterdir()) if place.is_dir() else [place]
        shown = [file for file in inside if file.is_file() and file.suffix != ".md"]
        for file in shown:
            name = f"{links.SOURCES}/{file.relative_to(links.ROOT)}"
            files.append(File.generated(config, name, abs_src_path=str(file)))
        if place.is_dir():
            items = "".join(f'<li><a href="{file.name}">{file.name}</a></li>' for file in shown)
            files.append(File.generated(config, links.on_site(path), content=f"<h1>{path}</h1><ul>{items}</ul>"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the repository, where they work on any host of it, become links of the site."""
    return markdown if page.file.src_uri.startswith("commands/") else links.rewritten(markdown, page.file.src_uri)
