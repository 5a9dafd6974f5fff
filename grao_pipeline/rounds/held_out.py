"""Whether models are evaluated on prompts that they are trained on."""

from collections.abc import Iterator

from grao_pipeline.amounts import of
from grao_pipeline.rounds.config.run_plan import PromptsPlan
from grao_pipeline.storage.reader import open_table


def notes_on_held_out(prompts: PromptsPlan) -> Iterator[str]:
    """A note where the tables share prompts. Those at a URL are compared as a whole: a plan downloads none."""
    if not (prompts.train and prompts.eval):
        return
    train, held_out = (open_table(url, "prompts") for url in (prompts.train, prompts.eval))
    if train.fingerprint == held_out.fingerprint:
        yield _note(held_out.num_rows, held_out.num_rows)
    elif "://" not in prompts.train + prompts.eval:
        known = set(train.arrow(["prompt_id"])["prompt_id"].to_pylist())
        shared = known.intersection(held_out.arrow(["prompt_id"])["prompt_id"].to_pylist())
        if shared:
            yield _note(len(shared), held_out.num_rows)


def _note(shared: int, prompts: int) -> str:
    return (
        f"{of(shared, prompts, 'prompts')} of prompts: eval are in train, too: metrics on what was trained on "
        "are too good. grao prompts --eval-fraction splits a dataset."
    )
