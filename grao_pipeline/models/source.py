"""Locate a model and load its config, tokenizer and weights; incomplete weights are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grao_pipeline.errors import GraoError, InputError
from grao_pipeline.fingerprints import adapter_fingerprint, fingerprint, model_fingerprint, tokenizer_fingerprint
from grao_pipeline.models.manifest import read_trained_manifest, verify_where_trained
from grao_pipeline.models.outside import check_weights, named_code
from grao_pipeline.models.pruned import has_no_weights, refuse_without_weights
from grao_pipeline.models.stored import download_model, is_url
from grao_pipeline.options import closest
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    AutoClass = type[AutoModelForCausalLM] | type[AutoModelForImageTextToText]

NAME = "model_name"
"""Detail of a provenance: what people call the model that sampled, or that was trained."""


@dataclass(frozen=True)
class ModelSource:
    """A model on local disk, with its fingerprints."""

    directory: Path
    fingerprint: str
    """Of the weights, with the adapter's where there is one."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    adapter: Path | None = None

    def details(self, name: str) -> dict[str, str]:
        """For the provenance of what the model makes.

        Args:
            name: as it was given: a hub id, or a directory, of which the last part says enough.
        """
        return {NAME: name if not Path(name).is_dir() else self.directory.resolve().name}


def locate_model(model: str, adapter: str | None = None, only_identity: bool = False) -> ModelSource:
    """Find a model: a local directory, a URL whose files are copied, or a hub id that is downloaded (once).

    Args:
        adapter: a LoRA adapter (peft) on top of the model, a directory or hub id too.
        only_identity: the weights may have been pruned; their fingerprint is then that of the manifest.

    Raises:
        InputError: there is no such directory, the hub does not have the model, its weights are pickles or were pruned,
            or a file of it is damaged.
    """
    directory = _local_directory(model)
    weights = _pruned_identity(directory, only_identity)
    if weights is None:
        check_weights(directory)
        weights = model_fingerprint(directory)
    tokenizer = tokenizer_fingerprint(directory)
    if adapter is None:
        return ModelSource(directory, weights, tokenizer)
    adapter_directory = _local_directory(adapter)
    both = _pruned_identity(adapter_directory, only_identity)
    if both is None:
        check_weights(adapter_directory)
        both = fingerprint([weights, adapter_fingerprint(adapter_directory)])
    return ModelSource(directory, both, tokenizer, adapter_directory)


def _pruned_identity(directory: Path, only_identity: bool) -> str | None:
    """Verify a model that we trained; its fingerprint, where it has no weights any more."""
    verify_where_trained(directory)
    if not has_no_weights(directory):
        return None
    if not only_identity:
        refuse_without_weights(directory)
    manifest = read_trained_manifest(directory)
    return None if manifest is None else manifest.model


def refuse_missing_model(model: str) -> None:
    """Check, without a network, that a model can exist: a directory, or something with the form of a hub id.

    Raises:
        InputError: it is neither; or the folder that would hold the directory exists.
    """
    if is_url(model):
        return
    if not Path(model).is_dir() and (_is_path(model) or Path(model.split("/")[0]).is_dir()):
        raise InputError(f"Model {model!r}: there is no such directory.")


def fetch_model(model: str) -> None:
    """Download a model that is not a local directory, unless the hub's cache has it.

    Raises:
        InputError: there is no such directory, or the hub does not have the model.
    """
    _local_directory(model)


def locate_files(directory: str) -> ModelSource:
    """The source of a model whose fingerprints do not matter, on local disk."""
    return ModelSource(Path(directory), "", "")


def load_tokenizer(source: ModelSource) -> "PreTrainedTokenizerBase":
    """The model's tokenizer.

    Raises:
        InputError: the directory holds no usable tokenizer.
    """
    transformers = require("transformers")
    with errors_of_libraries(source.directory, f"Cannot load the tokenizer in {source.directory}"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.directory), trust_remote_code=False)
        tokens = tokenizer.encode("a", add_special_tokens=False)
    if not tokens:  # transformers invents an empty one
        raise InputError(f"{source.directory} has no tokenizer. Copy the files of the model's tokenizer there.")
    return tokenizer


def load_config(source: ModelSource) -> "PreTrainedConfig":
    """The model's transformers config.

    Raises:
        InputError: transformers cannot read config.json.
    """
    transformers = require("transformers")
    with errors_of_libraries(source.directory, f"Cannot load {source.directory}/config.json"):
        config = transformers.AutoConfig.from_pretrained(str(source.directory), trust_remote_code=False)
    if not isinstance(config.architectures, list | None):
        raise InputError(f"{source.directory}/config.json: architectures must be a list of names.")
    if not isinstance(config.dtype, require("torch").dtype | None):
        raise InputError(f"{source.directory}/config.json: dtype must be the name of one of torch, e.g. bfloat16.")
    return config


def load_causal_lm(directory: str | Path, dtype: "torch.dtype | str") -> "PreTrainedModel":
    """A causal language model with its weights, ready for inference, on CPU.

    Args:
        dtype: a torch dtype, its name, or `auto` for the checkpoint's precision.

    Raises:
        InputError: as `load_weights`, or the model is not a causal language model.
    """
    model_class = causal_lm_class(load_config(locate_files(str(directory))), directory)
    return load_weights(directory, model_class, dtype)


def causal_lm_class(config: "PreTrainedConfig", directory: str | Path) -> "AutoClass":
    """The auto class of transformers that loads a checkpoint, to sample from it and to train it.

    A checkpoint that sees images, too, is loaded whole: the class of its text part alone would lose the other weights.

    Raises:
        InputError: transformers has no causal language model for this config.
    """
    transformers = require("transformers")
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{directory} is an encoder-decoder model ({config.model_type}); this needs a decoder-only language model."
        )
    names = require("transformers.models.auto.modeling_auto")
    auto_class: AutoClass = transformers.AutoModelForCausalLM
    architecture = next(iter(config.architectures or []), "")
    if architecture and architecture == names.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type):
        auto_class = transformers.AutoModelForImageTextToText
    elif type(config) not in names.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(
            f"{directory} holds a model of type '{config.model_type}' ({architecture or 'of unknown architecture'}), "
            "which transformers cannot load as a causal language model."
        )
    return auto_class


def load_weights(
    directory: str | Path, model_class: "AutoClass | str", dtype: "torch.dtype | str"
) -> "PreTrainedModel":
    """A model with its weights, ready for inference, on CPU.

    Args:
        model_class: of transformers, or the name of one, e.g. `AutoModelForSequenceClassification`.
        dtype: a torch dtype, its name, or `auto` for the checkpoint's precision.

    Raises:
        InputError: the weights cannot be read, or some are missing (transformers would initialize them at random).
    """
    transformers = require("transformers")
    auto_class: AutoClass = getattr(transformers, model_class) if isinstance(model_class, str) else model_class
    with errors_of_libraries(Path(directory), f"The weights in {directory} cannot be loaded"):
        model, loading_info = auto_class.from_pretrained(
            str(directory),
            dtype=dtype,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are in loading_info, with their shapes
        )
    for name, stored, needed in sorted(loading_info["mismatched_keys"]):
        raise InputError(
            f"The weights in {directory} do not fit its config.json: {name} has the shape {list(stored)}, and the "
            f"model needs {list(needed)}."
        )
    missing = sorted(loading_info["missing_keys"])
    if missing:
        raise InputError(f"{directory} lacks weights that {type(model).__name__} needs: {', '.join(missing[:3])}.")
    return model.eval()


@contextmanager
def errors_of_libraries(directory: Path, what: str) -> Iterator[None]:
    """Turn what transformers or peft raises about files from outside into an InputError.

    Args:
        what: the beginning of the message.
    """
    try:
        yield
    except (GraoError, MemoryError):
        raise
    except Exception as error:  # it raises whatever its code meets in a file that it did not write
        raise InputError(named_code(directory) or f"{what}: {first_line(error)}") from error


def _local_directory(model: str) -> Path:
    """Where a model is on this machine, after it was copied there if it is elsewhere."""
    if is_url(model):
        return download_model(model)
    return Path(model) if Path(model).is_dir() else _download(model)


def _download(model: str) -> Path:
    if _is_path(model):
        raise InputError(f"Model {model!r}: there is no such directory.")
    name, revision = hub_name(model)
    hub = require("huggingface_hub")
    errors = require("huggingface_hub.errors")
    patterns = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        is_unknown = isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError)
        where = "and no model on the hub" if is_unknown else "and the hub did not give it"
        reason = first_line(error).rstrip(".")
        advice = closest(Path(model).name, _folders(Path(model).parent))
        raise InputError(f"Model {model!r} is not a directory here, {where}: {reason}.{advice}") from error


def _folders(place: Path) -> list[str]:
    return [folder.name for folder in place.iterdir() if folder.is_dir()] if place.is_dir() else []


def _is_path(model: str) -> bool:
    """Whether a text cannot be a hub id: it has the form of a path, or is one."""
    return model.startswith((".", "/", "~")) or hub_name(model)[0].count("/") > 1 or Path(model).exists()


def hub_name(model: str) -> tuple[str, str | None]:
    """(hub id, revision) of a model as it is given.

    Example: `hub_name("Qwen/Qwen2.5-0.5B@refs/pr/1")` → `("Qwen/Qwen2.5-0.5B", "refs/pr/1")`
    """
    name, mark, revision = model.partition("@")
    return (name, revision) if mark and revision else (model, None)


def first_line(error: Exception) -> str:
    """The first line of an error's message; with the second, where it is a heading."""
    first, *others = str(error).strip().removeprefix("Got: ").splitlines() or [repr(error)]
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first
