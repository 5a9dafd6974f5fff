"""Sampling by several processes of this machine, each with its own engine and its own share of the parts."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.generation.engines.make import load_engine_class, resolve_engine_name
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.devices import device_sets
from grao_pipeline.progress import Bar, Progress
from grao_pipeline.shares import Share, part_shares, run_shares


def shares_of(options: GenerateOptions, missing: Sequence[int]) -> list[Share]:
    """What each process does; nothing where this process samples by itself.

    Args:
        missing: the parts that are to be made.

    Raises:
        UsageError: the engine, or the machine, cannot do with that many processes.
    """
    uses_device = load_engine_class(resolve_engine_name(options.engine)).uses_device
    if options.executor != "local" or not uses_device:
        if options.processes not in ("auto", 1):
            raise UsageError(
                "several processes are for engines on this machine's devices. A server has --concurrency, and "
                "--executor ray has --actors.",
                option="processes",
            )
        return []
    environments = device_sets(options.processes, options.device, options.tensor_parallel_size)
    shares = part_shares(options, options.worker, environments, missing)
    return shares if len(shares) > 1 else []


def sample_in_processes(
    prompts_url: str, out: str, shares: Sequence[Share], progress: Progress, bar: Bar
) -> list[dict[str, Any]]:
    """Sample the shares, each in a process; their summaries.

    Raises:
        GraoError: a process failed, or this one was asked to stop. Finished groups are saved.
    """
    return run_shares("generate", [prompts_url], out, shares, progress, {"sampling": bar})
