"""Priorities: how likely a prompt is drawn, from what earlier rounds saw of it; one file each.

A priority is a function `f(history, *, success_threshold, …)` that returns a Polars expression on the history, one row
per prompt: a number of at least 0, to which the prompt's chance is proportional; null where it says nothing, which
counts as the mean of the others. Its further parameters are its arguments. `reward_history.py` lists the columns; in a
row of a prompt that was never seen all but `prompt_id` are null. With the trait `reads_tokens` there are those of the
samples' tokens, too.
"""

_HERE = "grao_pipeline.prompts.priorities"

PRIORITIES = {
    "variance": f"{_HERE}.variance:variance",
    "cures": f"{_HERE}.cures:cures",
    "vas": f"{_HERE}.vas:vas",
}
