"""Token weights: factors of the tokens of samples, one file each.

A function `f(tokens, …)` gets all completion tokens of a part (`tokens.py`) and returns a factor for each: [N].
Factors of several functions are multiplied. With the trait `gives="advantages"` it returns the advantage of every token
instead; at most one function may. With `reads_steps=True` its argument `scores` names a feature with steps.
"""

_HERE = "grao_pipeline.advantages.token_weights"

TOKEN_WEIGHTS = {
    "conflicts": f"{_HERE}.conflicts:conflicts",
    "top-entropy": f"{_HERE}.top_entropy:top_entropy",
    "gigpo": f"{_HERE}.gigpo:gigpo",
    "salt": f"{_HERE}.salt:salt",
    "process": f"{_HERE}.process:process",
    "items": f"{_HERE}.items:items",
}
