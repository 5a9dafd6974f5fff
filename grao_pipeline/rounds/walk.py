"""The chain of tasks that a configuration stands for, each keyed by the fingerprint of its work.

A task's fingerprint needs its inputs' fingerprints. `walk` follows the chain; where an output is not there and is not
made (a plan), everything that depends on it is known to be work, but not under which fingerprint.
"""

from pathlib import Path

from grao_pipeline.errors import InputError
from grao_pipeline.fingerprints import file_checksum, fingerprint
from grao_pipeline.rounds.config.compile import RoundsConfig
from grao_pipeline.rounds.round_graph import VariantChain
from grao_pipeline.rounds.tasks import Link, Perform, Table, Task, Tasks, Walk
from grao_pipeline.storage.manifest import MANIFEST
from grao_pipeline.storage.reader import open_table

__all__ = ["Perform", "Task", "Walk", "walk"]


def walk(config: RoundsConfig, perform: Perform, link: Link = lambda name, task: None) -> Walk:
    """Follow the chain of a configuration, letting `perform` make what is missing. What several variants share is one
    task, which bears the name of the first of them.

    Args:
        link: is told the names of tasks that are done; a shared one has a name in every variant.

    Raises:
        GraoError: an input of the configuration is not usable.
    """
    tasks = Tasks(config.store, perform, link)
    train, held_out = _prompts(config, tasks)
    for variant in config.variants:
        VariantChain(config, variant, tasks).follow(train, held_out)
    return tasks.walk


def _prompts(config: RoundsConfig, tasks: Tasks) -> tuple[Table, Table | None]:
    if config.train_prompts is not None:
        held_out = _table(config.eval_prompts) if config.eval_prompts else None
        return _table(config.train_prompts), held_out
    source = Path(config.prompts_source)
    content = file_checksum(source) if source.is_file() else config.prompts_source
    key = fingerprint(["prompts", content, config.prompts.content()])
    out = tasks.out("prompts", key)
    split = config.prompts.eval_fraction > 0
    tables = [out / "train", out / "eval"] if split else [out]
    done = all((path / MANIFEST).is_file() for path in tables)
    task = Task("prompts", "prompts", (config.prompts_source,), out, config.prompts, done=done)
    if not tasks.run(task, key):
        return Table(None, None, "train"), Table(None, None, "eval") if split else None
    return _table(str(tables[0])), _table(str(tables[1])) if split else None


def _table(path: str) -> Table:
    reader = open_table(path, "prompts")
    if reader.num_rows == 0:
        raise InputError(f"{path} holds no prompts.")
    return Table(path, reader.fingerprint, reader.fingerprint)
