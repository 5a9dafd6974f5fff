"""Judging by several processes, each with its own reward and its own share of the parts: on this machine, or on Ray."""

from collections.abc import Sequence
from typing import Any

from grao_pipeline.errors import UsageError
from grao_pipeline.models.devices import device_sets
from grao_pipeline.progress import Bar, Progress
from grao_pipeline.ray_commands import run_stage_on_ray
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Reward
from grao_pipeline.shares import Share, part_shares, run_shares


def shares_of(options: ScoreOptions, reward: Reward, missing: Sequence[int]) -> list[Share]:
    """What each process does; nothing where this process judges by itself.

    Args:
        missing: the parts that are to be made.

    Raises:
        UsageError: the reward, or the machine, cannot do with that many processes.
    """
    is_alone = options.retry_errors or reward.takes_batches()
    if is_alone and (options.processes not in ("auto", 1) or options.executor == "ray"):
        raise UsageError(
            "one process asks a server, as many questions at a time as --reward-arg concurrency says; and one retries "
            "errors.",
            option="executor" if options.executor == "ray" else "processes",
        )
    if is_alone:
        return []
    if options.executor == "ray":
        if options.processes not in ("auto", 1):
            raise UsageError("several processes are of this machine; --executor ray has --actors.", option="processes")
        return part_shares(options.here(), options.worker, [{}] * options.actors, missing)
    environments = device_sets(options.processes, options.device, reward.num_devices())
    shares = part_shares(options, options.worker, environments, missing)
    return shares if len(shares) > 1 else []


def judge_in_processes(
    groups_url: str,
    out: str,
    options: ScoreOptions,
    reward: Reward,
    shares: Sequence[Share],
    progress: Progress,
    bar: Bar,
) -> list[dict[str, Any]]:
    """Judge the shares, each in a process; their summaries.

    Raises:
        GraoError: a process failed, or this one was asked to stop. Finished parts are kept.
    """
    if options.executor == "local":
        return run_shares("score", [groups_url], out, shares, progress, {"scoring": bar})
    of_shares = [share.options for share in shares]
    gpus = options.actor_gpus
    return run_stage_on_ray(
        "score",
        [groups_url],
        out,
        of_shares,
        gpus=reward.num_devices() if gpus is None else gpus,
        gpus_are_needed=gpus is not None,
        address=options.ray_address,
    )
