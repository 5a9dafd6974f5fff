"""Stages whose tables lie on an S3 server that refuses, delays, cuts off, forgets and corrupts its answers.

A stage runs again and again until it ends well, then once more without faults. Whatever happened, the table in the
store has the bytes of the local one, and every refusal on the way names a URL.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import fsspec

from benchmarks.chaos.place import Place
from benchmarks.chaos.trial import Trial
from grao_pipeline.advantages.compute import compute_advantages
from grao_pipeline.advantages.options import AdvantagesOptions, WeightedScores
from grao_pipeline.errors import GraoError
from grao_pipeline.evaluation.evaluate import evaluate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.prompts.build import build_prompts
from grao_pipeline.prompts.options import PromptsOptions
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage import outside_errors
from grao_pipeline.storage.directory import Directory
from tests.s3_server import FaultProxy, always, fault_proxy, s3_server, sometimes

BUCKET = "bucket"
PERMANENT = ("401", "403", "404", "500", "503", "reset")
PASSING = ("500", "503", "reset", "lost", "truncated", "flipped", "slow")
DRIVER = {"config_kwargs": {"retries": {"max_attempts": 1}, "read_timeout": 10, "connect_timeout": 5}}
"""The driver's own attempts are not the subject; they would take most of the time."""
RUNS = 12
TIME_LIMIT = 90.0


@dataclass(frozen=True)
class Work:
    """A stage with its inputs and its output in the store, and what the output must be."""

    stage: str
    run: Callable[[str], object]
    """Writes to a URL."""
    undisturbed: Path


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """In turn: a fault of every request, a fault of some, and two writers of one table."""
    with ExitStack() as stack:
        server = stack.enter_context(s3_server(BUCKET))
        proxy = stack.enter_context(fault_proxy(server))
        stack.callback(fsspec.config.conf.pop, "s3", None)
        stack.callback(setattr, outside_errors, "PAUSES", outside_errors.PAUSES)
        outside_errors.PAUSES = (0.05, 0.2)
        fsspec.config.conf["s3"] = {"endpoint_url": proxy.url, **DRIVER}
        for table in (place.groups, place.scores):
            _upload(table, f"s3://{BUCKET}/{table.name}")
        works = _works(place)
        number = 0
        while True:
            for kind in (_permanent, _passing, _two_writers):
                generator = random.Random(f"{kind.__name__} {seed} {number}")
                work = works[number % len(works)]
                proxy.reset()
                yield kind(work, f"s3://{BUCKET}/trial-{number}", proxy, generator)
                proxy.reset()
                Directory(f"s3://{BUCKET}/trial-{number}").delete_all()
                number += 1


def _works(place: Place) -> list[Work]:
    groups, scores = (f"s3://{BUCKET}/{table.name}" for table in (place.groups, place.scores))
    score = ScoreOptions(reward="length", reward_arg=["target=6"], use_cache=False)
    advantages = AdvantagesOptions(scores=[WeightedScores(url=scores)])
    return [
        Work("score", lambda out: score_groups(groups, out, score), place.scores),
        Work("advantages", lambda out: compute_advantages(groups, out, advantages), place.advantages),
        Work("evaluate", lambda out: evaluate(groups, scores, out, EvaluateOptions()), place.evaluation),
        Work("prompts", lambda out: build_prompts(str(place.rows), out, PromptsOptions()), place.prompts),
    ]


def _permanent(work: Work, out: str, proxy: FaultProxy, generator: random.Random) -> Trial:
    """Every request fails in the same way from some request on."""
    fault, first = generator.choice(PERMANENT), generator.randrange(12)
    proxy.policy = lambda method, path: always(fault)(method, path) if len(proxy.requests) > first else None
    started = time.monotonic()
    detail = f"{work.stage}, {fault} from request {first} on"
    try:
        work.run(out)
        outcome = "equal" if _is_equal(out, work, proxy) else "SILENT"
    except Exception as error:  # what no stage may do is the question
        outcome, detail = _named(error, detail)
    if time.monotonic() - started > TIME_LIMIT:
        return Trial(f"{fault}, permanent", "HANG", detail)
    if outcome == "named":
        proxy.reset()
        work.run(out)
        outcome = "named" if _is_equal(out, work, proxy) else "DIFFERENT"
    return Trial(f"{fault}, permanent", outcome, detail)


def _passing(work: Work, out: str, proxy: FaultProxy, generator: random.Random) -> Trial:
    """Some requests fail, each in its own way."""
    share = generator.choice((0.05, 0.15, 0.4))
    policy = sometimes(PASSING, share, random.Random(generator.random()))
    what, detail = f"mixed faults, {share:.0%} of the requests", f"{work.stage} at {out}"
    for _ in range(RUNS):
        proxy.policy = policy
        try:
            work.run(out)
            break
        except Exception as error:  # as above
            outcome, detail = _named(error, detail)
            if outcome != "named":
                return Trial(what, outcome, detail)
    proxy.reset()
    work.run(out)
    return Trial(what, "equal" if _is_equal(out, work, proxy) else "DIFFERENT", detail)


def _two_writers(work: Work, out: str, proxy: FaultProxy, generator: random.Random) -> Trial:
    """The same command twice at once; some answers are lost after the work is done."""
    proxy.policy = sometimes(("lost", "slow"), 0.1, random.Random(generator.random()))
    what, detail = "two writers, answers lost", f"{work.stage} at {out}"
    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(work.run, out) for _ in range(2)]:
            error = future.exception()
            if error is not None:
                outcome, detail = _named(error, detail)
                if outcome != "named":
                    return Trial(what, outcome, detail)
    proxy.reset()
    work.run(out)
    return Trial(what, "equal" if _is_equal(out, work, proxy) else "DIFFERENT", detail)


def _named(error: BaseException, detail: str) -> tuple[str, str]:
    """An outcome, and what is to be told."""
    detail = f"{detail}: {type(error).__name__}: {error}"
    if not isinstance(error, GraoError):
        return "TRACEBACK", detail
    return ("named" if f"s3://{BUCKET}/" in str(error) else "UNNAMED"), detail


def _is_equal(out: str, work: Work, proxy: FaultProxy) -> bool:
    """Whether the store holds the bytes of the local output, and no other file."""
    proxy.reset()
    directory = Directory(out)
    here = {path.name: path.read_bytes() for path in work.undisturbed.iterdir()}
    return {name: directory.read(name) for name in directory.names()} == here


def _upload(table: Path, url: str) -> None:
    directory = Directory(url)
    for path in table.iterdir():
        directory.write(path.name, path.read_bytes())
