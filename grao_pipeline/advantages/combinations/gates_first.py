"""Gated rewards before those without a gate: lexicographic optimization on one scale."""

from collections.abc import Mapping
from typing import Annotated

import polars as pl
from pydantic import Field

from grao_pipeline.advantages.combinations.rewards import Weights, all_of, applies, complete, reward_named, terms, total
from grao_pipeline.errors import UsageError
from grao_pipeline.methods import method, traits

Gate = Annotated[dict[str, float] | None, Field(description="As gate.NAME=THRESHOLD, or --gate NAME=THRESHOLD.")]


@method(
    "our own",
    "V = q where all gates are passed; V = L_k − weight_k · (gate_k − R_k) where gate k is the first that is not",
    options="--gate NAME=0.5",
)
@traits(needs_several=True)
def gates_first(view: pl.DataFrame, *, weights: Weights, statistics: str, gate: Gate = None) -> pl.Expr:
    """The rewards without a gate, for sequences that pass all gates; below all of these, the sequences that do not.

    The gated rewards come first, in the order of their importance. A sequence passes gate k where reward_k ≥ gate_k;
    how far above does not matter. q is the weighted sum of the rewards without a gate, and L_k the lowest V in the
    group among the sequences that pass gates 1 … k, or 0 where no sequence does. So a sequence that fails a gate is
    strictly below all sequences of its group that pass this gate and the previous ones, by as much as it misses the
    gate; its later rewards do not count. A gate whose reward does not apply to a sequence is passed.
    """
    gates = gate or {}
    _check_gates(gates, weights)
    ungated = {name: weight for name, weight in weights.items() if name not in gates}
    is_complete = complete(weights)
    value: pl.Expr = pl.when(is_complete).then(total(terms(ungated)).cast(pl.Float32))
    value = value.cast(pl.Float64)
    for position, name in reversed(list(enumerate(gates))):
        passes_previous = all_of([_passes(other, gates) for other in list(gates)[:position]])
        passes = _passes(name, gates)
        lowest = pl.when(is_complete & passes_previous & passes).then(value).min().over("group_id").fill_null(0.0)
        missing = weights[name] * (gates[name] - reward_named(name))
        # At least the smallest step that float32 can tell from L_k, whatever the size of the rewards.
        step = pl.max_horizontal(missing, lowest.abs() * 2.0**-22, pl.lit(2.0**-100))
        value = pl.when(passes).then(value).otherwise((lowest - step).cast(pl.Float32).cast(pl.Float64))
    return pl.when(is_complete).then(value).cast(pl.Float32)


def _passes(name: str, gates: Mapping[str, float]) -> pl.Expr:
    return ~applies(name) | (reward_named(name) >= gates[name])


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
