"""Several rewards → the one that the estimator sees.

Each combination is a function from the rewards' weights (by name, in the order of `--scores`) to a Polars expression on
the flat view. In all of them

- a sequence that lacks one of the rewards has none: it is null, and counts in no statistic of its group;
- the work is done in float64 and rounded once to float32, the precision in which rewards are stored: combined rewards
  that are equal but for rounding become equal, so that a group of equal rewards has a variance of exactly 0;
- "group" means the samples and the reference of one prompt.
"""

from collections.abc import Callable, Mapping

import polars as pl

from grao_pipeline.advantages.options import AdvantagesOptions
from grao_pipeline.errors import UsageError
from grao_pipeline.parsing import finite_number, key_values

Weights = Mapping[str, float]


def combined_reward(weights: Weights, options: AdvantagesOptions) -> pl.Expr:
    """The combined reward that the options ask for, as float32. See `check_combination` for what they may ask."""
    combine: dict[str, Callable[[], pl.Expr]] = {
        "sum": lambda: weighted_sum(weights),
        "normalise": lambda: normalised_sum(weights, options.statistics),
        "minimum": lambda: minimum(weights),
        "uncertainty": lambda: less_uncertainty(weights, options.uncertainty_penalty or 0.0),
        "lexicographic": lambda: gates_first(weights, parse_gates(options.gate)),
    }
    return combine[options.combine]()


def weighted_sum(weights: Weights) -> pl.Expr:
    """Σ_k weight_k · reward_k as float32, null where any of them is null.

    The sum is made in float64 and rounded once to float32, the precision in which rewards are stored: sums that are
    equal but for rounding become equal.
    """
    return _sum(list(_weighted(weights).values())).cast(pl.Float32)


def normalised_sum(weights: Weights, statistics: str) -> pl.Expr:
    """Σ_k weight_k · (reward_k − μ_k) / σ_k, with μ_k and σ_k of reward k in the group; 0 for a reward with σ_k = 0.

    So a weight says how much a reward counts, whatever its scale, and a reward that does not distinguish the group's
    sequences does not water down those that do (as in GDPO, arXiv 2601.05242, without its second step, over the batch).

    Args:
        statistics: over which sequences μ_k and σ_k are taken, as for the estimators; where there are none, the
            combined reward is null.
    """
    complete = _complete(weights)
    counts = pl.lit(True) if statistics == "samples_and_reference" else pl.col("source") == "sample"
    terms = []
    for name, weight in weights.items():
        reward = pl.when(complete & counts).then(_reward(name))
        mean = reward.mean().over("group_id")
        std = ((reward - mean) ** 2).mean().over("group_id").sqrt()
        # Equality is decided on the rewards themselves: rounding in the mean must not turn it into a spread.
        equal = (reward.min() == reward.max()).over("group_id")
        terms.append(weight * pl.when(equal | (std == 0.0)).then(0.0).otherwise((_reward(name) - mean) / std))
    return pl.when(complete).then(_sum(terms)).cast(pl.Float32)


def minimum(weights: Weights) -> pl.Expr:
    """min_k weight_k · reward_k: the worst case of an ensemble (arXiv 2310.02743, worst-case optimisation)."""
    return pl.when(_complete(weights)).then(pl.min_horizontal(*_weighted(weights).values())).cast(pl.Float32)


def less_uncertainty(weights: Weights, penalty: float) -> pl.Expr:
    """mean − penalty · std over k of weight_k · reward_k, std that of the population: where an ensemble disagrees, its
    mean is believed less (arXiv 2310.02743, uncertainty-weighted optimisation, which takes the variance; the standard
    deviation has the rewards' own unit).
    """
    rewards = list(_weighted(weights).values())
    mean = _sum(rewards) / len(rewards)
    std = (_sum([(reward - mean) ** 2 for reward in rewards]) / len(rewards)).sqrt()
    equal = pl.min_horizontal(*rewards) == pl.max_horizontal(*rewards)
    combined = pl.when(equal).then(rewards[0]).otherwise(mean - penalty * std)
    return pl.when(_complete(weights)).then(combined).cast(pl.Float32)


def gates_first(weights: Weights, gates: Mapping[str, float]) -> pl.Expr:
    """The rewards behind the gates, for sequences that pass them; below all of these, those that do not.

    The gated rewards come first, in the order of their importance. A sequence passes gate k where reward_k ≥ gate_k;
    how far above is of no account. With q the weighted sum of the rewards without a gate,

        V = q                                        where every gate is passed
        V = L_k − weight_k · (gate_k − reward_k)     where gate k is the first that is not

    L_k is the lowest V in the group among the sequences that pass gates 1 … k, or 0 where there is none. So whatever
    fails a gate is strictly below whatever in its group passes that gate and those before it, by as much as it misses
    it; and what it would get behind the gate does not count. An order of priorities as in lexicographic optimisation,
    brought to one scale.
    """
    free = {name: weight for name, weight in weights.items() if name not in gates}
    complete = _complete(weights)
    value: pl.Expr = pl.when(complete).then(_sum(list(_weighted(free).values())).cast(pl.Float32).cast(pl.Float64))
    for position, name in reversed(list(enumerate(gates))):
        passes_before = _all([_reward(other) >= gates[other] for other in list(gates)[:position]])
        passes = _reward(name) >= gates[name]
        lowest = pl.when(complete & passes_before & passes).then(value).min().over("group_id").fill_null(0.0)
        missing = weights[name] * (gates[name] - _reward(name))
        # At least the smallest step that float32 can tell from L_k, whatever the size of the rewards.
        step = pl.max_horizontal(missing, lowest.abs() * 2.0**-22, pl.lit(2.0**-100))
        value = pl.when(passes).then(value).otherwise((lowest - step).cast(pl.Float32).cast(pl.Float64))
    return pl.when(complete).then(value).cast(pl.Float32)


def parse_gates(entries: list[str]) -> dict[str, float]:
    """`["format=1"]` → `{"format": 1.0}`.

    Raises:
        UsageError: an entry is not NAME=THRESHOLD, or names a reward again.
    """
    gates: dict[str, float] = {}
    for entry in entries:
        ((name, text),) = key_values([entry], "gate").items()
        threshold = finite_number(text)
        if threshold is None:
            raise UsageError(f"--gate {entry}: the threshold {text!r} is not a number. Write NAME=THRESHOLD.")
        if name in gates:
            raise UsageError(f"--gate {entry}: reward '{name}' already has a gate.")
        gates[name] = threshold
    return gates


def check_combination(options: AdvantagesOptions, weights: Weights) -> None:
    """Check that the options of the combination fit each other and the rewards.

    Args:
        weights: by the rewards' names, in the order in which they are given.

    Raises:
        UsageError: they do not; the message says which.
    """
    if options.gate and options.combine != "lexicographic":
        raise UsageError(f"--gate belongs to --combine lexicographic, not to {options.combine}.")
    if options.estimator == "gdpo" and options.combine != "normalise":
        raise UsageError(f"--estimator gdpo needs --combine normalise: it is {options.combine}.")
    if (options.uncertainty_penalty is not None) != (options.combine == "uncertainty"):
        raise UsageError("--combine uncertainty needs --uncertainty-penalty, and nothing else takes it.")
    if options.combine in ("minimum", "uncertainty", "lexicographic"):
        if len(weights) < 2:
            raise UsageError(
                f"--combine {options.combine} is for several rewards; there is one ({', '.join(weights)})."
            )
        useless = next((name for name, weight in weights.items() if weight == 0), None)
        if useless is not None:
            raise UsageError(
                f"--combine {options.combine}: reward '{useless}' has weight 0, so it would take part as a reward that "
                "is always 0. Leave it out."
            )
    if options.combine == "lexicographic":
        _check_gates(parse_gates(options.gate), weights)


def _check_gates(gates: Mapping[str, float], weights: Weights) -> None:
    named = ", ".join(weights)
    if not gates:
        raise UsageError(
            "--combine lexicographic needs a --gate NAME=THRESHOLD for each reward that goes before others."
        )
    for name in gates:
        if name not in weights:
            raise UsageError(f"--gate {name}: there is no such reward. The scores given are of: {named}.")
        if weights[name] <= 0:
            raise UsageError(f"--gate {name}: its weight is {weights[name]:g}; a gated reward needs one above 0.")
    first = list(weights)[: len(gates)]
    if list(gates) != first or len(gates) == len(weights):
        raise UsageError(
            f"--gate {', '.join(gates)}: gated rewards go first, in the order of their --scores ({named}), and at "
            "least one reward without a gate follows them."
        )


def _reward(name: str) -> pl.Expr:
    return pl.col(f"reward.{name}").cast(pl.Float64)


def _weighted(weights: Weights) -> dict[str, pl.Expr]:
    return {name: _reward(name) * weight for name, weight in weights.items()}


def _complete(weights: Weights) -> pl.Expr:
    """Whether a sequence has all the rewards."""
    return _all([pl.col(f"reward.{name}").is_not_null() for name in weights])


def _all(conditions: list[pl.Expr]) -> pl.Expr:
    return pl.all_horizontal(*conditions) if conditions else pl.lit(True)


def _sum(terms: list[pl.Expr]) -> pl.Expr:
    """Term by term from the left; null where a term is."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
