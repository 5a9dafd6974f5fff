"""The reward that options name, and its identity."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from grao_pipeline.arguments import parse_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.fingerprints import fingerprint, stage_fingerprint
from grao_pipeline.own_code import own_code
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load, source_of
from grao_pipeline.progress import SILENT, Progress
from grao_pipeline.scoring.applicability import uniform_condition
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards import REWARDS
from grao_pipeline.scoring.rewards.base import Reward, RewardRuntime
from grao_pipeline.scoring.rewards.function import FunctionReward
from grao_pipeline.scoring.rewards.own import OwnReward
from grao_pipeline.storage.manifest import Provenance


def make_reward(options: ScoreOptions, progress: Progress = SILENT, batches: str | None = None) -> Reward:
    """The reward that the options name: built in, from an entry point, or `module:attribute` (a class or a function).

    Args:
        batches: directory of the records of a judge's batches.

    Raises:
        UsageError: it is unknown or not a reward, or an argument is wrong.
    """
    given = key_values(options.reward_arg, "reward_arg")
    runtime = RewardRuntime(options.batch_size, options.device, progress, batches)
    plugin: Any = load("reward", options.reward, REWARDS)
    with own_code(f"Reward '{options.reward}'", plugin, option="reward"):
        reward = _made(plugin, given, runtime, options)
    is_own = not str(getattr(reward.plugin, "__module__", "")).startswith("grao_pipeline.")
    return _checked_for_batches(OwnReward(reward, options.reward) if is_own else reward, options)


def _made(
    plugin: Callable[..., object] | type[object],
    given: Mapping[str, str],
    runtime: RewardRuntime,
    options: ScoreOptions,
) -> Reward:
    """The reward of a class or a function."""
    if not inspect.isclass(plugin):
        return FunctionReward(plugin, given, runtime)
    if not issubclass(plugin, Reward) or inspect.isabstract(plugin):
        raise UsageError(
            f"Class '{options.reward}' must derive from grao_pipeline.Reward and define score().",
            option="reward",
        )
    arguments = parse_arguments(plugin.arguments_model(given), given, f"reward '{options.reward}'", "reward_arg")
    reward: Reward = plugin(arguments, runtime)
    if not isinstance(getattr(reward, "runtime", None), RewardRuntime):
        raise UsageError(f"Class '{options.reward}' must call super().__init__(arguments, runtime).", option="reward")
    return reward


def _checked_for_batches(reward: Reward, options: ScoreOptions) -> Reward:
    if options.batch and not reward.takes_batches():
        raise UsageError(
            f"'{options.reward}' asks no server. It is for the judges on a server (--reward-arg base_url=…).",
            option="batch",
        )
    return reward


def scores_provenance(options: ScoreOptions, groups_fingerprint: str, reward: Reward) -> Provenance:
    """The identity of a scores table; it is known before anything is scored."""
    scope = {"when": uniform_condition(options), "missing": options.missing, "score_on": options.score_on}
    shaping = {"reward": options.reward, "name": reward_name(options), **scope, **reward.identity()}
    shaping |= own_source(reward)
    inputs = {"groups": groups_fingerprint}
    return Provenance("scores", stage_fingerprint("score", shaping, inputs), shaping, inputs)


def own_source(reward: Reward) -> dict[str, str]:
    """The source of a user's class; that of a function is in the reward's own identity."""
    return source_of("reward", reward.plugin) if inspect.isclass(reward.plugin) else {}


def reward_fingerprint(options: ScoreOptions, reward: Reward) -> str:
    """The identity of a reward in the judgement cache; its name in later tables does not matter."""
    return fingerprint({"reward": options.reward, **reward.identity(), **own_source(reward)})


def reward_name(options: ScoreOptions) -> str:
    """The reward's name in later tables, e.g. `gsm8k`, or `helpful` for `judges.py:helpful`."""
    return options.name or options.reward.rpartition(":")[2]
