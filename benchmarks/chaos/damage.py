"""One bit flipped, or the end cut off, in every kind of file; then whatever reads that file.

Damage must be named, mended, or without any effect on what comes out.
"""

import contextlib
import io
import itertools
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from benchmarks.chaos.damage_kinds import Kind, kinds_of_files
from benchmarks.chaos.place import Place
from benchmarks.chaos.trial import Trial
from grao_pipeline.errors import GraoError

SECONDS = 60
"""A reader that takes longer hangs."""
CUT_EVERY = 4
"""Every fourth damage is a cut; the others are flipped bits."""


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """Whether every file is of some kind; then every kind in turn, fast ones several times."""
    kinds = kinds_of_files(place)
    yield _covered(place, kinds)
    expected: dict[str, object] = {}
    for number in itertools.count():
        for kind in kinds:
            if number % kind.every == 0:
                if kind.what not in expected:
                    expected[kind.what] = kind.read(_copied(kind, place.fresh()))
                yield _trial(place, kind, random.Random(f"{kind.what} {seed} {number}"), expected[kind.what], number)


def _covered(place: Place, kinds: Sequence[Kind]) -> Trial:
    """A file that a stage writes and nothing damages must get a kind."""
    written = {path for output in place.outputs for path in output.rglob("*") if path.is_file()}
    left = written - {path for kind in kinds for path in kind.intact.glob(kind.pattern)}
    names = sorted(str(path.relative_to(place.base)) for path in left)
    return Trial("every file has a kind", "UNCOVERED" if left else "equal", ", ".join(names))


def _trial(place: Place, kind: Kind, generator: random.Random, expected: object, number: int) -> Trial:
    directory = place.fresh()
    copy = _copied(kind, directory)
    path = generator.choice(sorted(path for path in copy.glob(kind.pattern) if path.is_file()))
    what = _damage(path, generator, is_cut=number % CUT_EVERY == 0)
    detail = f"{path.relative_to(copy)}: {what}"
    try:
        outcome = _outcome(kind, copy, path, expected)
    except Exception as error:
        outcome, detail = "TRACEBACK", f"{detail}: {type(error).__name__}: {error}"
    shutil.rmtree(directory)
    return Trial(kind.what, outcome, detail)


def _copied(kind: Kind, directory: Path) -> Path:
    return Path(shutil.copytree(kind.intact, directory / "out", symlinks=True))


def _outcome(kind: Kind, copy: Path, path: Path, expected: object) -> str:
    try:
        with _limited(SECONDS), contextlib.redirect_stderr(io.StringIO()):
            value = kind.read(copy)
    except GraoError as error:
        return "named" if path.name in str(error) else "refused"
    except TimeoutError:
        return "HANG"
    if value != expected:
        return "SILENT"
    return "equal" if kind.writes else "harmless"


def _damage(path: Path, generator: random.Random, is_cut: bool) -> str:
    """Damage a file; how, for people."""
    data = bytearray(path.read_bytes())
    place = generator.randrange(len(data))
    if is_cut:
        path.write_bytes(data[:place])
        return f"cut to {place} of {len(data)} bytes"
    bit = generator.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place}"


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError: the block takes longer."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
