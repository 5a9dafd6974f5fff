"""Arguments that a reward passes on to an engine: to `vllm.LLM`, a chat template, a server's request."""

from collections.abc import Collection, Mapping
from math import prod

from pydantic import AfterValidator

from grao_pipeline.models.vllm_process import SPEED_ARGUMENTS, refuse_reserved

VLLM_MEMORY_REMEDY = "if need be with --reward-arg vllm.gpu_memory_utilization=… or vllm.max_num_seqs=… lowered"


def vllm_arguments(instead: Mapping[str, str]) -> AfterValidator:
    """Validator of the field `vllm`, for `vllm.KEY=value` arguments.

    Args:
        instead: the reserved keys that have an argument, e.g. `{"dtype": "dtype=…"}`.
    """

    def refuse(values: dict[str, object]) -> dict[str, object]:
        refuse_reserved(values, instead, "vllm.")
        return values

    return AfterValidator(refuse)


def without_keys(field: str, reserved: Collection[str]) -> AfterValidator:
    """Validator of a field for `FIELD.KEY=value` arguments, some keys of which the reward sets."""

    def refuse(values: dict[str, object]) -> dict[str, object]:
        for key in values:
            if key in reserved:
                raise ValueError(f"'{field}.{key}' cannot be set here. The reward sets it")
        return values

    return AfterValidator(refuse)


def num_devices(arguments: Mapping[str, object]) -> int:
    """GPUs that one engine with these arguments of vLLM uses."""
    sizes = (str(arguments.get(f"{kind}_parallel_size", 1)) for kind in ("tensor", "pipeline"))
    return prod(int(size) if size.isdecimal() else 1 for size in sizes)


def shaping_vllm_arguments(arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments of vLLM that may change its output: they are part of the scores' fingerprint."""
    return {key: value for key, value in arguments.items() if key not in SPEED_ARGUMENTS}
