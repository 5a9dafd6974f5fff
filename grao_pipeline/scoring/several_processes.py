"""Judging by several processes of this machine, each with its own reward and its own share of the parts."""

from collections.abc import Sequence

from grao_pipeline.errors import UsageError
from grao_pipeline.models.devices import device_sets
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Reward
from grao_pipeline.shares import Share, part_shares


def shares_of(options: ScoreOptions, reward: Reward, missing: Sequence[int]) -> list[Share]:
    """What each process does; at most one where this process judges by itself.

    Args:
        missing: the parts that are to be made.

    Raises:
        UsageError: the reward, or the machine, cannot do with that many processes.
    """
    is_alone = options.retry_errors or reward.takes_batches()
    if is_alone and options.processes not in ("auto", 1):
        raise UsageError(
            "one process asks a server, as many questions at a time as --reward-arg concurrency says; and one retries "
            "errors.",
            option="processes",
        )
    if is_alone:
        return []
    environments = device_sets(options.processes, options.device, reward.num_devices())
    return part_shares(options, options.worker, environments, missing)
