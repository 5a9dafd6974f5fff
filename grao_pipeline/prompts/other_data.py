"""Sources that are not prompts, or not only prompts: what to do with them instead."""

from collections.abc import Callable, Mapping

from grao_pipeline.prompts.base import Row


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat_samples(sample: Row) -> bool:
    if "prompt" not in sample or "label" in sample:
        return False
    if "completion" in sample:
        return any(_is_number(sample.get(name)) for name in ("reward", "rewards", "advantage"))
    has_text = any(isinstance(sample.get(name), str) for name in ("response", "output", "generation"))
    return has_text and any(_is_number(sample.get(name)) for name in ("reward", "advantage", "score"))


def _batch_output(sample: Row) -> bool:
    response = sample.get("response")
    return "custom_id" in sample and isinstance(response, Mapping) and "body" in response


ADVICE: tuple[tuple[Callable[[Row], bool], str], ...] = (
    (
        _flat_samples,
        "One row is one sample with its reward, and its completion need not be a good answer. `grao import` makes "
        "groups and scores of such rows. To take every completion as a reference all the same: "
        "--format prompt-completion.",
    ),
    (
        _batch_output,
        "This is an output file of OpenAI's batch API: it has samples and no prompts. `grao import` reads samples; "
        "`grao prompts` reads the batch's input file.",
    ),
)
NO_FORMAT: tuple[tuple[Callable[[Row], bool], str], ...] = (
    (
        lambda sample: "instruction" in sample and isinstance(sample.get("generations"), list),
        "These rows hold several generations per instruction. `grao import` makes groups of them, with "
        "--map instruction=prompt --map generations=responses.",
    ),
    (
        lambda sample: set(sample) == {"text"},
        "A column `text` alone does not say where the prompt ends and the answer begins. Split it, e.g. with "
        "--format my_formats:split, a function of yours.",
    ),
)


def advice_on(sample: Row, fitting: str) -> str:
    """What to do with a source that should not be read as prompts; empty where there is nothing to say.

    Args:
        sample: the first value of every field that is not null.
        fitting: the format that fits; empty where none does.
    """
    rules = ADVICE if fitting else (*ADVICE, *NO_FORMAT)
    return next((advice for applies, advice in rules if applies(sample)), "")
