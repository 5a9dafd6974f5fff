"""`--rewrite NAME`: a function that changes every prompt before it is written."""

from collections.abc import Callable

from grao_pipeline.errors import StageFailure
from grao_pipeline.own_code import own_code
from grao_pipeline.parsing import key_values
from grao_pipeline.plugin_functions import load_function
from grao_pipeline.plugins import named_source
from grao_pipeline.prompts.base import DroppedRow, Prompt
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.prompts.rewrites import REWRITES

Rewrite = Callable[[Prompt], Prompt]
"""Raises DroppedRow where the prompt is to be left out."""


def load_rewrite(options: PromptsOptions) -> Rewrite | None:
    """The rewrite that the options name, with its arguments; None where they name none.

    Raises:
        UsageError: it is unknown or no function, or an argument is wrong.
    """
    name, given = options.rewrite, key_values(options.rewrite_arg, "rewrite_arg")
    if name is None:
        return None
    function, arguments = load_function("rewrite", name, REWRITES, given, ("prompt",), "rewrite", "rewrite_arg")

    def rewrite(prompt: Prompt) -> Prompt:
        with own_code(f"Rewrite '{name}'", function):
            try:
                result = function(prompt, **dict(arguments))
            except DroppedRow as reason:
                dropped = str(reason)
            else:
                dropped = f"{name} returned None" if result is None else ""
            if not dropped and not isinstance(result, Prompt):
                raise StageFailure(f"Rewrite '{name}' returned {result!r:.100}; it must return a Prompt, or None.")
        if dropped:
            raise DroppedRow(dropped)
        rewritten: Prompt = result
        return rewritten

    return rewrite


def rewrite_source(options: PromptsOptions) -> dict[str, str]:
    """Its part of the identity of the prompts: the source of a function of the user's."""
    return {} if options.rewrite is None else named_source("rewrite", options.rewrite, REWRITES)
