"""The verb `verify`: an output and all that it was made from, each held against its fingerprint."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from grao_pipeline.amounts import of, some
from grao_pipeline.errors import GraoError, InputError
from grao_pipeline.fingerprints import tokenizer_fingerprint
from grao_pipeline.lineage.catalog import Catalog, Output, default_roots, read_output
from grao_pipeline.lineage.checks import problems_of
from grao_pipeline.lineage.inputs import NamedInput, inputs_of
from grao_pipeline.lineage.options import VerifyOptions
from grao_pipeline.models.pruned import has_no_weights
from grao_pipeline.models.source import NAME
from grao_pipeline.progress import SILENT, Progress

State = Literal["intact", "pruned", "damaged", "not found", "outside"]
"""`pruned`: a model whose weights were deleted on purpose; the rest of it is intact. `outside`: a model behind a
server, whose weights nobody can hash.
"""


@dataclass(frozen=True)
class VerifiedOutput:
    """One output of a chain.

    Attributes:
        role: what it is to the output that was made from it, e.g. `advantages`; `output` for the first.
        place: where it is; empty where it was not found.
    """

    role: str
    fingerprint: str
    state: State
    place: str = ""


@dataclass
class VerifySummary:
    """What was held against its fingerprint.

    Attributes:
        chain: the output, then its inputs, their inputs, and so on.
        problems: what is wrong, a sentence each, with the file.
        missing: number of inputs that were not found.
    """

    chain: list[VerifiedOutput] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: int = 0
    notes: list[str] = field(default_factory=list)

    def for_people(self) -> dict[str, object]:
        """Counts, and a line for each output."""
        lines = [
            {"state": one.state, "role": one.role, "fingerprint": one.fingerprint, "place": _shown(one.place)}
            for one in self.chain
        ]
        intact = sum(one.state == "intact" for one in self.chain)
        return {"intact": f"{intact} of {len(self.chain)}", "chain": lines, "notes": self.notes}


def _shown(place: str) -> str:
    """A place in the current directory without the way to that."""
    here = Path.cwd()
    return str(Path(place).relative_to(here)) if place and Path(place).is_relative_to(here) else place


def verify_chain(path: str, options: VerifyOptions, progress: Progress = SILENT) -> VerifySummary:
    """Hold an output, or all outputs in a folder, and what they were made from, against their fingerprints.

    Checksums of files, identities from options and inputs, hashes of rows, weights and logs are computed again. Inputs
    are looked for next to the output, and in `options.look_in`.

    Example:
        verify_chain("runs/model", VerifyOptions()).problems

    Raises:
        InputError: there is no output at `path`.
    """
    place = Path(path)
    if not place.is_dir():
        raise InputError(
            f"{path} is not a local directory. Verify a table, a model, an evaluation or a folder of them."
        )
    for root in options.look_in:
        if not Path(root).is_dir():
            raise InputError(f"{root} is not a local directory: --look-in names a folder to look through.")
    with progress.track("looking for inputs"):
        catalog = Catalog([*default_roots(place), *map(Path, options.look_in)])
    summary = VerifySummary()
    walk = _Walk(catalog, summary, progress)
    for output in _first_outputs(place, summary):
        walk.add("output", output)
    if not summary.chain and not summary.problems:
        raise InputError(f"{path} holds no table, trained model or evaluation of ours.")
    walk.follow()
    pruned = sum(one.state == "pruned" for one in summary.chain)
    if pruned:
        summary.notes.append(
            f"{of(pruned, len(summary.chain), 'outputs')} are models whose weights were deleted by grao rounds "
            "prune (or by keep: in the rounds): only their other files were verified."
        )
    if summary.missing:
        summary.notes.append(
            f"{some(summary.missing, 'input was', 'inputs were')} not found, and so not verified: name the folders "
            "that hold what is missing with --look-in."
        )
        summary.problems += list(catalog.unreadable.values())
        if options.complete:
            summary.problems.append(
                f"{some(summary.missing, 'input of the chain was', 'inputs of the chain were')} not found."
            )
    summary.problems = list(dict.fromkeys(summary.problems))
    return summary


def _first_outputs(place: Path, summary: VerifySummary) -> Iterator[Output]:
    """The output in a directory, or those in the folders below it."""
    try:
        output = read_output(place.resolve())
    except GraoError as error:
        summary.problems.append(str(error))
        return
    if output is not None:
        yield output
        return
    inside = Catalog([place.resolve()])
    summary.problems += list(inside.unreadable.values())
    yield from inside.outputs()


class _Walk:
    """Goes from outputs to their inputs; every output is verified once."""

    def __init__(self, catalog: Catalog, summary: VerifySummary, progress: Progress) -> None:
        self._catalog = catalog
        self._summary = summary
        self._progress = progress
        self._waiting: list[tuple[NamedInput, Output]] = []
        self._seen: set[str] = set()

    def add(self, role: str, output: Output) -> None:
        """Verify an output, and remember its inputs."""
        if output.fingerprint in self._seen:
            return
        self._seen |= {output.fingerprint, output.weights}
        with self._progress.track(f"verifying {output.place}"):
            problems = list(problems_of(output))
        is_pruned = output.kind == "model" and not problems and has_no_weights(output.place)
        state: State = "damaged" if problems else "pruned" if is_pruned else "intact"
        self._summary.chain.append(VerifiedOutput(role, output.fingerprint, state, str(output.place)))
        self._summary.problems += problems
        if output.provenance is not None:
            is_served = "served_model" in output.provenance.details
            for named in inputs_of(output.provenance.inputs):
                if is_served and named.role == "model":
                    self._note(named.role, named.fingerprint, "outside")
                else:
                    self._waiting.append((named, output))

    def follow(self) -> None:
        """Verify all inputs, and theirs."""
        while self._waiting:
            named, reader = self._waiting.pop(0)
            output = self._catalog.find(named.fingerprint, _tokenizer_of(named, reader))
            self._hold_tokenizer(named, output, reader)
            if named.fingerprint in self._seen:
                continue
            if output is not None:
                self.add(named.role, output)
            elif not self._is_changed_model(named, reader):
                self._note(named.role, named.fingerprint, "not found")
                self._summary.missing += 1

    def _is_changed_model(self, named: NamedInput, reader: Output) -> bool:
        """Whether a model that was not found is one of the same name with other weights."""
        name = reader.provenance.details.get(NAME) if reader.provenance and named.role == "model" else None
        place = self._catalog.model_named(name) if isinstance(name, str) else None
        if place is None:
            return False
        self._seen.add(named.fingerprint)
        self._summary.chain.append(VerifiedOutput(named.role, named.fingerprint, "damaged", str(place)))
        problem = self._catalog.unreadable.get(place)
        self._summary.problems.append(
            problem or f"{place}: weights or config.json are not those that {reader.place} was made with."
        )
        return True

    def _hold_tokenizer(self, named: NamedInput, output: Output | None, reader: Output) -> None:
        """Hold the tokenizer of a model against the one that its reader used; that of a trained model is one of its
        files."""
        expected = _tokenizer_of(named, reader)
        if output is None or output.provenance is not None or expected is None:
            return
        if tokenizer_fingerprint(output.place) != expected:
            self._summary.problems.append(
                f"{output.place}: the files of the tokenizer are not those that {reader.place} was made with."
            )

    def _note(self, role: str, fingerprint: str, state: State) -> None:
        if fingerprint not in self._seen:
            self._seen.add(fingerprint)
            self._summary.chain.append(VerifiedOutput(role, fingerprint, state))


def _tokenizer_of(named: NamedInput, reader: Output) -> str | None:
    """The fingerprint of the tokenizer with which a model was read."""
    return reader.provenance.inputs.get("tokenizer") if reader.provenance and named.role == "model" else None
