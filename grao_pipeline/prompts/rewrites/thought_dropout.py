"""Thought dropout: some references lose their thought."""

import re
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from grao_pipeline.fingerprints import DIGITS, fingerprint
from grao_pipeline.methods import method
from grao_pipeline.prompts.base import Prompt

EMPTY = "\n\n"
Share = Annotated[float, Field(description="Share of the references that lose their thought.", ge=0.0, le=1.0)]
Open = Annotated[str, Field(description="What begins a thought in a reference.")]
Close = Annotated[str, Field(description="What ends it.")]


@method(
    "arXiv 2505.16854 (TON)",
    "with probability share, by a hash of the prompt, the thought of y becomes empty",
    needs="references with a thought, in their text or as reference_reasoning",
)
def thought_dropout(
    prompt: Prompt, *, share: Share = 0.5, open: Open = "<think>", close: Close = "</think>"
) -> Prompt | None:
    """Empties the thought of some references, so that the model learns when not to think.

    Which ones depends on the prompts alone: the same at every run. References without a thought stay as they are.
    """
    chance = int(fingerprint(["thought-dropout", prompt.messages, prompt.reference]), 16) / 16**DIGITS
    if prompt.reference is None or chance >= share:
        return prompt
    thought = re.compile(f"({re.escape(open)}).*?({re.escape(close)})", re.DOTALL)
    reference = thought.sub(lambda match: f"{match[1]}{EMPTY}{match[2]}", prompt.reference, count=1)
    reasoning = None if prompt.reference_reasoning is None else EMPTY
    return replace(prompt, reference=reference, reference_reasoning=reasoning)
