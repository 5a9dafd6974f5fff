"""The same command two or three times at once, and one cache for all: right output, and no process that fails."""

import itertools
import random
import shutil
from collections.abc import Iterator

from benchmarks.chaos.content import difference
from benchmarks.chaos.place import Place, ended
from benchmarks.chaos.trial import Trial


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """One output for all processes, then one output each with a shared cache, then workers of one table."""
    for number in itertools.count():
        for stage in ("score", "advantages", "evaluate"):
            yield _one_output(place, stage, random.Random(f"one {stage} {seed} {number}"))
        yield _one_cache(place, random.Random(f"cache {seed} {number}"))
        yield _workers(place)


def _one_output(place: Place, stage: str, generator: random.Random) -> Trial:
    """The same command at once: all end well, and the output is that of one."""
    directory = place.fresh()
    out = directory / "out"
    arguments = {
        "score": (place.groups, out, *place.SCORE, "--cache", directory / "cache.sqlite"),
        "advantages": (place.groups, out, "--scores", place.scores),
        "evaluate": (place.groups, place.scores, out),
    }[stage]
    count = generator.randint(2, 3)
    ends = [ended(command) for command in [place.start(stage, *arguments) for _ in range(count)]]
    undisturbed = {"score": place.scores, "advantages": place.advantages, "evaluate": place.evaluation}[stage]
    fault = next((end for end in ends if end.fault or end.code), None)
    what = f"{stage}, one OUT"
    if fault is not None:
        return Trial(what, fault.fault or "FAILED", f"{count} processes: {fault.last_line}")
    unequal = difference(out, undisturbed)
    shutil.rmtree(directory)
    return Trial(what, "DIFFERENT" if unequal else "equal", f"{count} processes: {unequal}")


def _one_cache(place: Place, generator: random.Random) -> Trial:
    """Several outputs, one cache that does not exist yet."""
    directory = place.fresh()
    outs = [directory / f"out-{number}" for number in range(generator.randint(2, 4))]
    cache = ("--cache", directory / "cache.sqlite")
    ends = [
        ended(command) for command in [place.start("score", place.groups, out, *place.SCORE, *cache) for out in outs]
    ]
    what = "score, one cache"
    for end, out in zip(ends, outs, strict=True):
        if end.fault or end.code:
            return Trial(what, end.fault or "FAILED", end.last_line)
        unequal = difference(out, place.scores)
        if unequal:
            return Trial(what, "DIFFERENT", unequal)
    shutil.rmtree(directory)
    return Trial(what, "equal")


def _workers(place: Place) -> Trial:
    """Workers of one groups table race for its manifest."""
    directory = place.fresh()
    out, count = directory / "out", 3
    arguments = ("generate", place.prompts, out, "--model", place.model, *place.GENERATE)
    commands = [place.start(*arguments, "--worker", f"{number}/{count}") for number in range(count)]
    ends = [ended(command) for command in commands]
    fault = next((end for end in ends if end.fault or end.code), None)
    if fault is not None:
        return Trial("generate --worker", fault.fault or "FAILED", fault.last_line)
    unequal = difference(out, place.groups)
    shutil.rmtree(directory)
    return Trial("generate --worker", "DIFFERENT" if unequal else "equal", str(unequal))
