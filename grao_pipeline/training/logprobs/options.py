"""Options of `grao logprobs`."""

from typing import Literal

from grao_pipeline.options import Device, StageOptions, option, runtime


class LogprobsOptions(StageOptions):
    """`grao logprobs`: groups → log-probs under a model."""

    model: str = runtime(..., "Model to compute them with: a Hugging Face model directory or hub id.")
    dtype: Literal["float32", "bfloat16"] = option("float32", "Precision of the forward pass.")
    top_k: int = option(
        0,
        "Also store the log-probs of the K likeliest tokens at every place, for the objective gkd: 8 K bytes a token.",
        ge=0,
    )
    tokens_per_batch: int = runtime(16384, "Tokens per pass, a group's prompt counted once.", ge=1)
    attention: Literal["auto", "split", "varlen", "flex", "rows"] = runtime(
        "auto", "How a group's sequences share their prompt, as in `grao train`.", plugin="attention"
    )
    device: Device = runtime("auto", "Device to compute on.")
