"""What a model directory from outside must not do to us: run its code, be unpickled, or be used with cut weights."""

from pathlib import Path

import safetensors

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import read_config

CONFIGS = (
    *("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"),
    "adapter_config.json",
)
"""Files that can name code."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
INDEX = "*.safetensors.index.json"


def check_weights(directory: Path) -> None:
    """Check that the weights are whole safetensors files; reads their headers alone.

    Raises:
        InputError: the weights are pickles, a file is cut or damaged, or the index names other files.
    """
    paths = sorted(directory.glob("*.safetensors"))
    if not paths:
        refuse_pickles(directory)
    for index in directory.glob(INDEX):
        _check_index(index)
    for path in paths:
        try:
            with safetensors.safe_open(str(path), framework="np"):
                pass
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise InputError(f"{path} is damaged ({error}). Copy or download it again.") from error


def refuse_pickles(directory: Path) -> None:
    """Raises InputError: the weights of a directory without safetensors are pickles."""
    pickle = next((path for pattern in PICKLES for path in sorted(directory.glob(pattern))), None)
    is_adapter = (directory / "adapter_config.json").is_file()
    loader = "peft import AutoPeftModelForCausalLM" if is_adapter else "transformers import AutoModelForCausalLM"
    if pickle is not None:
        raise InputError(
            f"{pickle} is a pickle, and {directory} has no *.safetensors. Pickles are never loaded, since loading one "
            f'can run code. Where you trust its author, convert it: python -c "from {loader} as M; '
            f"M.from_pretrained('{directory}').save_pretrained('NEW')\", and copy the tokenizer's files."
        )


def named_code(directory: Path) -> str | None:
    """What to say where a model cannot be loaded without code from its directory; None where it names none.

    Example: `m/config.json names custom code (auto_map: modeling.Own), which is never run. …`
    """
    for name in CONFIGS:
        path = directory / name
        try:
            code = read_config(path).get("auto_map") if path.is_file() else None
        except InputError:
            continue
        if code:
            modules = code.values() if isinstance(code, dict) else [code]
            named = ", ".join(sorted({str(module) for module in modules}))
            return (
                f"{path} names custom code (auto_map: {named}), which is never run. Use a model whose architecture "
                "and tokenizer transformers has, or convert it to one."
            )
    return None


def _check_index(index: Path) -> None:
    shards = read_config(index).get("weight_map", {})
    if not isinstance(shards, dict):
        raise InputError(f"{index}: weight_map must be an object. Copy or download it again.")
    for shard in sorted({str(name) for name in shards.values()}):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(f"{index} names {shard!r}, which is not a safetensors file of that directory.")
        if not (index.parent / shard).is_file():
            raise InputError(f"{index.parent / shard} is missing; {index.name} names it. Copy or download it.")
