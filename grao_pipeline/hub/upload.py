"""One commit to a repository of the hub."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.hub.options import PushOptions
from grao_pipeline.models.source import first_line
from grao_pipeline.plugins import require


@dataclass(frozen=True)
class Commit:
    """A commit of the hub."""

    id: str
    url: str


def upload(repository: str, kind: str, files: Mapping[str, Path | bytes], options: PushOptions) -> Commit:
    """Create the repository where it does not exist, and commit the files; all of them appear, or none.

    Args:
        kind: `model` or `dataset`.
        files: by the path in the repository.

    Raises:
        InputError: the hub cannot be reached, or refuses.
    """
    hub = require("huggingface_hub")
    errors = require("huggingface_hub.errors")
    transport = tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)
    api = hub.HfApi(library_name="grao-pipeline")
    operations = [
        hub.CommitOperationAdd(name, str(content) if isinstance(content, Path) else content)
        for name, content in files.items()
    ]
    try:
        api.create_repo(repository, repo_type=kind, private=options.private or None, exist_ok=True)
        if options.revision != "main":
            api.create_branch(repository, repo_type=kind, branch=options.revision, exist_ok=True)
        message = options.message or f"Push a {kind} with grao-pipeline"
        info = api.create_commit(
            repository, operations, commit_message=message, repo_type=kind, revision=options.revision
        )
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        raise InputError(
            f"The hub refuses the push to {repository}: {first_line(error)} Log in with `hf auth login`, or set "
            "HF_TOKEN to a token that may write."
        ) from error
    except transport as error:
        raise InputError(f"The hub cannot be reached: {first_line(error)}. Nothing was pushed.") from error
    return Commit(info.oid, info.commit_url)
