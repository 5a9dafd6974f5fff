"""Several rewards → the one that the estimator sees.

Each combination is a function from the rewards' weights (by name, in the order of `--scores`) to a Polars expression on
the flat view. In all of them

- only the rewards that apply to a sequence are combined (column `applies.<name>`), as if there were no others; a
  sequence that lacks one of them, or to which none applies, has no combined reward: it is null, and counts in no
  statistic of its group;
- the computation is in float64 and is rounded once to float32, the precision in which rewards are stored: combined
  rewards that differ only by rounding become equal, so that a group of equal rewards has a variance of exactly 0;
- "group" means the samples and the reference of one prompt.
"""

from collections.abc import Callable, Mapping

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import UsageError
from grao_pipeline.parsing import finite_number, key_values

Weights = Mapping[str, float]


def combined_reward(weights: Weights, options: AdvantagesOptions) -> pl.Expr:
    """The combined reward that the options ask for, as float32. `check_combination` tells which options fit."""
    combinations: dict[str, Callable[[], pl.Expr]] = {
        "sum": lambda: weighted_sum(weights),
        "normalize": lambda: normalized_sum(weights, options.statistics),
        "minimum": lambda: minimum(weights),
        "uncertainty": lambda: penalized_mean(weights, options.uncertainty_penalty or 0.0),
        "lexicographic": lambda: gates_first(weights, parse_gates(options.gate)),
    }
    return combinations[options.combine]()


def weighted_sum(weights: Weights) -> pl.Expr:
    """Σ_k weight_k · reward_k."""
    return pl.when(_complete(weights)).then(_sum(_terms(weights))).cast(pl.Float32)


def normalized_sum(weights: Weights, statistics: str) -> pl.Expr:
    """Σ_k weight_k · (reward_k − μ_k) / σ_k, with μ_k and σ_k of reward k in the group; 0 for a reward with σ_k = 0.

    So a weight says how much a reward counts, whatever its scale, and a reward that does not distinguish the sequences
    of a group does not dilute those that do (as in GDPO, arXiv 2601.05242, without its second step over the batch).

    Args:
        statistics: the sequences that count in μ_k and σ_k, as for the estimators; where none counts, the combined
            reward is null.
    """
    is_complete = _complete(weights)
    counts = pl.lit(True) if statistics == "samples_and_reference" else pl.col("source") == "sample"
    terms = []
    for name, weight in weights.items():
        reward = pl.when(is_complete & counts).then(_reward(name))  # null where it does not apply, too
        mean = reward.mean().over("group_id")
        std = ((reward - mean) ** 2).mean().over("group_id").sqrt()
        # The rewards themselves are compared: a rounded mean must not turn equal rewards into a spread.
        is_constant = (reward.min() == reward.max()).over("group_id")
        standardized = pl.when(is_constant | (std == 0.0)).then(0.0).otherwise((_reward(name) - mean) / std)
        terms.append(weight * pl.when(_applies(name)).then(standardized).otherwise(0.0))
    return pl.when(is_complete).then(_sum(terms)).cast(pl.Float32)


def minimum(weights: Weights) -> pl.Expr:
    """min_k weight_k · reward_k: the worst case of an ensemble (arXiv 2310.02743, worst-case optimization)."""
    # The minimum skips the nulls of the rewards that do not apply.
    return pl.when(_complete(weights)).then(pl.min_horizontal(*_weighted(weights).values())).cast(pl.Float32)


def penalized_mean(weights: Weights, penalty: float) -> pl.Expr:
    """mean − penalty · std over k of weight_k · reward_k, with the population std: where an ensemble disagrees, its
    mean is trusted less (arXiv 2310.02743, uncertainty-weighted optimization, which uses the variance; the standard
    deviation has the unit of the rewards).
    """
    rewards = list(_weighted(weights).values())
    count = pl.sum_horizontal(*(_applies(name).cast(pl.Float64) for name in weights))
    mean = _sum(_terms(weights)) / count
    std = (_sum([((reward - mean) ** 2).fill_null(0.0) for reward in rewards]) / count).sqrt()
    lowest, highest = pl.min_horizontal(*rewards), pl.max_horizontal(*rewards)
    combined = pl.when(lowest == highest).then(lowest).otherwise(mean - penalty * std)
    return pl.when(_complete(weights)).then(combined).cast(pl.Float32)


def gates_first(weights: Weights, gates: Mapping[str, float]) -> pl.Expr:
    """The rewards without a gate, for sequences that pass all gates; below all of these, the sequences that do not.

    The gated rewards come first, in the order of their importance. A sequence passes gate k where reward_k ≥ gate_k;
    how far above does not matter. With q the weighted sum of the rewards without a gate,

        V = q                                        where all gates are passed
        V = L_k − weight_k · (gate_k − reward_k)     where gate k is the first that is not passed

    L_k is the lowest V in the group among the sequences that pass gates 1 … k, or 0 where no sequence does. So a
    sequence that fails a gate is strictly below all sequences of its group that pass this gate and the previous ones,
    by as much as it misses the gate; its later rewards do not count. This is lexicographic optimization on one scale.
    A gate whose reward does not apply to a sequence is passed.
    """
    ungated = {name: weight for name, weight in weights.items() if name not in gates}
    is_complete = _complete(weights)
    value: pl.Expr = pl.when(is_complete).then(_sum(_terms(ungated)).cast(pl.Float32))
    value = value.cast(pl.Float64)
    for position, name in reversed(list(enumerate(gates))):
        passes_previous = _all([_passes(other, gates) for other in list(gates)[:position]])
        passes = _passes(name, gates)
        lowest = pl.when(is_complete & passes_previous & passes).then(value).min().over("group_id").fill_null(0.0)
        missing = weights[name] * (gates[name] - _reward(name))
        # At least the smallest step that float32 can tell from L_k, whatever the size of the rewards.
        step = pl.max_horizontal(missing, lowest.abs() * 2.0**-22, pl.lit(2.0**-100))
        value = pl.when(passes).then(value).otherwise((lowest - step).cast(pl.Float32).cast(pl.Float64))
    return pl.when(is_complete).then(value).cast(pl.Float32)


def parse_gates(entries: list[str]) -> dict[str, float]:
    """`["format=1"]` → `{"format": 1.0}`.

    Raises:
        UsageError: an entry is not NAME=THRESHOLD, or names a reward a second time.
    """
    gates: dict[str, float] = {}
    for entry in entries:
        ((name, text),) = key_values([entry], "gate").items()
        threshold = finite_number(text)
        if threshold is None:
            raise UsageError(f"{entry}: the threshold {text!r} is not a number. Write NAME=THRESHOLD.", option="gate")
        if name in gates:
            raise UsageError(f"{entry}: reward '{name}' already has a gate.", option="gate")
        gates[name] = threshold
    return gates


def check_combination(options: AdvantagesOptions, weights: Weights) -> None:
    """Check that the options of the combination fit each other and the rewards.

    Args:
        weights: by the rewards' names, in the order in which they are given.

    Raises:
        UsageError: names the option that does not fit.
    """
    if options.gate and options.combine != "lexicographic":
        raise UsageError(f"only --combine lexicographic has gates, not '{options.combine}'.", option="gate")
    if options.estimator == "gdpo" and options.combine != "normalize":
        raise UsageError(f"'gdpo' needs --combine normalize, not '{options.combine}'.", option="estimator")
    if options.combine == "uncertainty" and options.uncertainty_penalty is None:
        raise UsageError("'uncertainty' needs --uncertainty-penalty.", option="combine")
    if options.combine != "uncertainty" and options.uncertainty_penalty is not None:
        raise UsageError(
            f"only --combine uncertainty has a penalty, not '{options.combine}'.", option="uncertainty_penalty"
        )
    if options.combine in ("minimum", "uncertainty", "lexicographic"):
        _check_several(options.combine, weights)
    if options.combine == "lexicographic":
        _check_gates(parse_gates(options.gate), weights)


def _check_several(combine: str, weights: Weights) -> None:
    if len(weights) < 2:
        raise UsageError(
            f"'{combine}' combines several rewards; there is only one ({', '.join(weights)}).", option="combine"
        )
    unweighted = next((name for name, weight in weights.items() if weight == 0), None)
    if unweighted is not None:
        raise UsageError(
            f"'{combine}' would treat reward '{unweighted}', whose weight is 0, as a reward that is always 0. "
            "Leave its scores out.",
            option="combine",
        )


def _check_gates(gates: Mapping[str, float], weights: Weights) -> None:
    names = ", ".join(weights)
    if not gates:
        raise UsageError(
            "'lexicographic' needs a --gate NAME=THRESHOLD for each reward that comes before others.", option="combine"
        )
    for name in gates:
        if name not in weights:
            raise UsageError(f"unknown reward '{name}'. The scores given are of: {names}.", option="gate")
        if weights[name] <= 0:
            raise UsageError(
                f"reward '{name}' has weight {weights[name]:g}; a gated reward needs a weight above 0.", option="gate"
            )
    first = list(weights)[: len(gates)]
    if list(gates) != first or len(gates) == len(weights):
        raise UsageError(
            f"{', '.join(gates)}: gated rewards come first, in the order of their --scores ({names}), and are followed "
            "by at least one reward without a gate.",
            option="gate",
        )


def _reward(name: str) -> pl.Expr:
    return pl.col(f"reward.{name}").cast(pl.Float64)


def _applies(name: str) -> pl.Expr:
    return pl.col(f"applies.{name}")


def _passes(name: str, gates: Mapping[str, float]) -> pl.Expr:
    return ~_applies(name) | (_reward(name) >= gates[name])


def _weighted(weights: Weights) -> dict[str, pl.Expr]:
    return {name: _reward(name) * weight for name, weight in weights.items()}


def _terms(weights: Weights) -> list[pl.Expr]:
    """The weighted rewards, 0 where one does not apply; for sequences that are complete."""
    return [reward.fill_null(0.0) for reward in _weighted(weights).values()]


def _complete(weights: Weights) -> pl.Expr:
    """Whether a sequence has all the rewards that apply to it, and at least one."""
    has_all = _all([pl.col(f"reward.{name}").is_not_null() | ~_applies(name) for name in weights])
    return has_all & pl.any_horizontal(*(_applies(name) for name in weights))


def _all(conditions: list[pl.Expr]) -> pl.Expr:
    return pl.all_horizontal(*conditions) if conditions else pl.lit(True)


def _sum(terms: list[pl.Expr]) -> pl.Expr:
    """Term by term from the left, so that the result has the same bits everywhere."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
