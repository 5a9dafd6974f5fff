"""How the cells of a CSV file are separated."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

SAMPLE_LINES = 100
CANDIDATES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class Dialect:
    """The separator of cells, and whether a space follows it that is not part of the next cell.

    Example: `Dialect(";")`
    """

    delimiter: str
    skips_first_space: bool = False

    @property
    def delimiter_name(self) -> str:
        """For messages, e.g. `semicolons`."""
        return CANDIDATES[self.delimiter]


def dialect_of(lines: Sequence[str], usual: str) -> Dialect:
    """The dialect of a file by its first lines.

    The usual separator counts unless the header is one cell by it, or cells of further rows do not add up, where
    another separator divides header and rows alike. A file with one column has no separator.

    Args:
        lines: with their line breaks; the first one is the header. The last record may be cut.
        usual: the separator that the file's ending names.
    """
    if not lines:
        return Dialect(usual)
    fitting = [delimiter for delimiter in CANDIDATES if _divides_alike(lines, delimiter)]
    delimiter = usual if usual in fitting or len(fitting) != 1 else fitting[0]
    header = _records(lines[:1], delimiter)
    names = header[0] if header else []
    return Dialect(delimiter, len(names) > 1 and all(name.startswith(" ") for name in names[1:]))


def _divides_alike(lines: Sequence[str], delimiter: str) -> bool:
    """Whether the header and all whole records have the same number of cells, of which there are several."""
    records = _records(lines, delimiter)
    whole = records if len(lines) < SAMPLE_LINES else records[:-1]
    lengths = {len(record) for record in whole}
    return len(lengths) == 1 and lengths.pop() > 1


def _records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The records of some lines, without blank ones; none where they are not CSV."""
    spaced = any(f'{delimiter} "' in line for line in lines)
    try:
        return [record for record in csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced) if record]
    except csv.Error:
        return []
