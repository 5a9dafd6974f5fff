"""Reshapes: the combined reward → the reward that the estimator sees, one file each.

A reshape is a function `f(view, *, statistics, …)` that returns a Polars expression on the flat view: the new `reward`.
It is applied after the filters before the statistics, so what a filter took out counts nowhere; a reward that is null
stays null. Its further parameters are its arguments.
"""

_HERE = "grao_pipeline.advantages.reshapes"

RESHAPES = {
    "unlikely": f"{_HERE}.unlikely:unlikely",
    "optimal-cost": f"{_HERE}.optimal_cost:optimal_cost",
    "contrast-bonus": f"{_HERE}.contrast_bonus:contrast_bonus",
    "overlong": f"{_HERE}.overlong:overlong",
    "class-mean": f"{_HERE}.class_mean:class_mean",
}
