"""The Progress seam: what a stage tells people while it works."""

from collections.abc import Callable


class Progress:
    """Receives what a stage tells. This base ignores everything; the commands print it on standard error."""

    def note(self, message: str) -> None:
        """One line for people, e.g. `part 3 committed`."""


SILENT = Progress()


class RecordedProgress(Progress):
    """A public fake for tests: keeps what it is told, and passes it on to a function."""

    def __init__(self, on_note: Callable[[str], object] = lambda _: None) -> None:
        self.notes: list[str] = []
        self._on_note = on_note

    def note(self, message: str) -> None:
        self.notes.append(message)
        self._on_note(message)
