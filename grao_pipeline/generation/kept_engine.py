"""One engine for run after run, in a process whose residents stay: it takes the next policy's weights, or gives way."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from grao_pipeline.fingerprints import VOLATILE_CONFIG_KEYS, fingerprint, read_config, tokenizer_fingerprint
from grao_pipeline.generation.engines.base import Engine, Precision, Request, SampledGroup, Sampling
from grao_pipeline.generation.engines.make import EngineRecipe, load_engine_class
from grao_pipeline.residence import RESIDENCE, Resident

NAME = "engine"
CONFIGS = ("config.json", "generation_config.json")
DTYPES = {"dtype", "torch_dtype"}
"""Of the checkpoint; the precision of an engine is in its options."""


def lent_engine(recipe: EngineRecipe) -> Engine:
    """The engine that an earlier run left, with the weights of this recipe; or a new one. Its `close` leaves it for
    the next run, where residents stay.

    Raises:
        UsageError, InputError: as `EngineRecipe.open`.
    """
    earlier = RESIDENCE.take(NAME)
    if isinstance(earlier, KeptEngine) and earlier.takes(recipe):
        return LentEngine(earlier)
    if earlier is not None:
        earlier.close()
    return LentEngine(KeptEngine(recipe)) if load_engine_class(recipe.name).reloads else recipe.open()


class KeptEngine(Resident):
    """An engine that may stay, and what it was opened with."""

    def __init__(self, recipe: EngineRecipe) -> None:
        self.engine = recipe.open()
        self._recipe = recipe

    def takes(self, recipe: EngineRecipe) -> bool:
        """Whether it samples as an engine that is opened by this recipe; its weights are those of the recipe then."""
        if _shape(recipe) != _shape(self._recipe):
            return False
        has_weights = recipe.options.weights == self._recipe.options.weights != ""
        if not has_weights and not self.engine.reload(recipe.options):
            return False
        self._recipe = recipe
        return True

    def rest(self) -> bool:
        return self.engine.rest()

    def wake(self) -> None:
        self.engine.wake()

    def close(self) -> None:
        self.engine.close()


class LentEngine(Engine):
    """A kept engine for one run. One that was interrupted, or failed, is not kept."""

    def __init__(self, lent: KeptEngine) -> None:
        self._lent = lent
        self._has_ended = True

    def generate(self, parts: Iterable[Sequence[Request]], sampling: Sampling) -> Iterator[list[SampledGroup]]:
        self._has_ended = False
        yield from self._lent.engine.generate(parts, sampling)
        self._has_ended = True

    def precision(self) -> Precision | None:
        return self._lent.engine.precision()

    def remarks(self) -> list[str]:
        return self._lent.engine.remarks()

    def close(self) -> None:
        if self._has_ended:
            RESIDENCE.leave(NAME, self._lent)
        else:
            self._lent.close()


def _shape(recipe: EngineRecipe) -> str:
    """What engines must have in common to differ in nothing but weights. The tokenizer is a part of one that reads
    texts; others are given token IDs.
    """
    options, directory = recipe.options, Path(recipe.options.model)
    configs = [_config(directory / name) for name in CONFIGS]
    adapted = options.weights if options.adapter is not None else None
    tokenizer = tokenizer_fingerprint(directory) if options.reads_text else None
    others = repr(replace(options, model="", weights=""))
    return fingerprint([recipe.name, dict(recipe.arguments), others, adapted, configs, tokenizer])


def _config(path: Path) -> object:
    """What a config says of the model, not of how it was saved."""
    if not path.is_file():
        return None
    return {key: value for key, value in read_config(path).items() if key not in VOLATILE_CONFIG_KEYS | DTYPES}
