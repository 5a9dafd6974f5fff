"""One HTML page of everything that it needs: styles, scripts, libraries and data; it asks no network for anything."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

ASSETS = files("grao_pipeline.report") / "assets"
LIBRARIES = ("d3", "plot", "diff")
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(?P<name>\w+)\.js";\n', re.MULTILINE)
"""The only form of an import in our modules."""


@cache
def asset(name: str) -> str:
    """The text of a file of the front end, e.g. `vendor/d3.min.js`."""
    return ASSETS.joinpath(*name.split("/")).read_text("utf-8")


def one_script(entry: str) -> str:
    """A module and those that it imports as one text: their names are unique, so that nothing has to be renamed."""
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in texts:
            return
        text = asset(f"{name}.js")
        texts[name] = ""
        for match in IMPORT.finditer(text):
            add(match["name"])
        texts[name] = texts.pop(name) or re.sub(r"^export (?=\w)", "", IMPORT.sub("", text), flags=re.MULTILINE)

    add(entry)
    return "\n".join(texts.values())


def page(title: str, report: Mapping[str, object], groups: Sequence[Mapping[str, object]]) -> str:
    """The report as HTML.

    Args:
        report: what the charts and tables show.
        groups: what the sample browser shows. It is compressed: there may be much of it.
    """
    scripts = [*(asset(f"vendor/{name}.min.js") for name in LIBRARIES), one_script("report_page")]
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    tags = [f"<script>{_in_script(script)}</script>" for script in scripts[:-1]]
    tags += [
        f'<script type="application/json" id="report-data">{_json(report)}</script>',
        f'<script type="text/plain" id="groups-data">{_packed(groups)}</script>',
        f'<script type="module">{_in_script(scripts[-1])}</script>',
    ]
    values = {
        "title": html.escape(title),
        # Whatever a text may contain: nothing but these scripts runs, and nothing is loaded or sent.
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "style": asset("style.css"),
        "scripts": "\n".join(tags),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], asset("page.html"))


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _in_script(script: str) -> str:
    """Raises ValueError if a script would end early."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError("a script of the front end holds the end of a script")
    return script


def _json(value: object) -> str:
    """JSON that no HTML parser takes for markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _packed(value: object) -> str:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
