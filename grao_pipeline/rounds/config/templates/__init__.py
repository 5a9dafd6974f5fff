"""Commented rounds files to start from; each is a `.yaml` file of this folder."""

from importlib.resources import files
from pathlib import Path

from grao_pipeline.errors import InputError, UsageError


def template_names() -> list[str]:
    """The names of the templates."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir() if entry.name.endswith(".yaml")
    )


def template_text(name: str) -> str:
    """A template.

    Raises:
        UsageError: unknown name.
    """
    if name not in template_names():
        raise UsageError(f"Unknown template '{name}'. Templates: {', '.join(template_names())}.")
    return (files(__name__) / f"{name}.yaml").read_text("utf-8")


def write_template(name: str, path: Path) -> Path:
    """Write a template to a file.

    Raises:
        UsageError: there is no such template.
        InputError: the file exists, or cannot be written.
    """
    text = template_text(name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} exists already. Choose another file with --out.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from error
    return path
