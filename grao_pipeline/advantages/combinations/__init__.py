"""Combinations: several rewards → the one that the estimator sees, one file each.

A combination is a function `f(view, *, weights, statistics, …)` that returns a Polars expression on the flat view;
`weights` are the rewards' weights by name, in the order of `--scores`. `rewards.py` says what they have in common. Its
further parameters are its arguments, and its traits are

- `needs_several`: there must be at least two rewards, none of weight 0;
- `over_table`: a function `g(view, *, weights, …)` → name → expression, whose mean and standard deviation over the
table
  are the columns `table_mean.NAME` and `table_std.NAME` of the view.
"""

_HERE = "grao_pipeline.advantages.combinations"

COMBINATIONS = {
    "sum": f"{_HERE}.weighted_sum:weighted_sum",
    "normalize": f"{_HERE}.normalized_sum:normalized_sum",
    "minimum": f"{_HERE}.minimum:minimum",
    "uncertainty": f"{_HERE}.uncertainty:uncertainty",
    "lexicographic": f"{_HERE}.gates_first:gates_first",
    "worst-population": f"{_HERE}.worst_population:worst_population",
}
