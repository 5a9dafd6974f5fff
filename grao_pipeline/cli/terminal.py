"""Text for people. It may quote a model, a data set or a server, and a terminal obeys what it is sent."""

import re

import click

from grao_pipeline.redaction import without_credentials

COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1: escape sequences begin with them
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    "\u2028\u2029\u202a-\u202e\u2066-\u206f"  # separators, and what turns the direction of the text after it
    "\ud800-\udfff]"  # no text encoding has these
)
"""Characters that are shown by their number. The joiners U+200C and U+200D are letters' business and stay."""


def visible(text: str) -> str:
    r"""A text without credentials in its URLs. What a terminal obeys or hides is written out, e.g. as `\x1b`.

    Example: `visible("\x1b[31mred")` is the eleven characters `\x1b[31mred`.
    """
    shown = without_credentials(text)
    return COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), shown)


def echo(text: str) -> None:
    """Print a text on standard output."""
    click.echo(visible(text))
