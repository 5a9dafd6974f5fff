"""Budgets: how often each prompt is sampled, from what earlier rounds saw of it; one file each.

A budget is a function `f(history, total, *, success_threshold, …)` that returns a whole number of samples for every row
of the history, at most `total` together; 0 leaves the prompt out. The columns are those that priorities read
(`grao_pipeline.prompts.priorities`). Its further parameters are its arguments.
"""

_HERE = "grao_pipeline.prompts.budgets"

BUDGETS = {
    "knapsack": f"{_HERE}.knapsack:knapsack",
    "spread": f"{_HERE}.spread:spread",
    "failed": f"{_HERE}.failed:failed",
}
