"""What outlives a task in a process that does several: engines and models with their weights in memory.

A process that does one task keeps nothing. `executor: resident` of the rounds opens the residence of its processes.
"""

from abc import ABC, abstractmethod


class Resident(ABC):
    """Something that holds a model and may stay."""

    @abstractmethod
    def rest(self) -> bool:
        """Give up the memory of an accelerator until `wake`; False where it cannot, and is to be closed instead."""

    def wake(self) -> None:
        """Be as before `rest`."""
        return

    @abstractmethod
    def close(self) -> None:
        """Free all that it holds."""


class Residence:
    """The residents of this process, by name. Whoever takes one has it alone until it is left again.

    Example:
        model = RESIDENCE.take("classifier 1f…") or Classifier(options)
        …
        RESIDENCE.leave("classifier 1f…", model)
    """

    def __init__(self) -> None:
        self.is_open = False
        """Whether residents stay; otherwise one that is left is closed."""
        self._residents: dict[str, Resident] = {}

    def open(self) -> None:
        """From now on residents stay, until `close`."""
        self.is_open = True

    def take(self, name: str) -> Resident | None:
        """A resident that was left under this name, awake; None without one. All others rest."""
        resident = self._residents.pop(name, None)
        self.rest()
        if resident is not None:
            resident.wake()
        return resident

    def leave(self, name: str, resident: Resident) -> None:
        """Keep a resident for the next task that takes it."""
        earlier = self._residents.pop(name, None)
        if earlier is not None:
            earlier.close()
        if self.is_open:
            self._residents[name] = resident
        else:
            resident.close()

    def rest(self) -> None:
        """Make room on the accelerators for another one, or another process."""
        for name, resident in list(self._residents.items()):
            if not resident.rest():
                del self._residents[name]
                resident.close()

    def close(self) -> None:
        """Close all residents; none stays any more."""
        self.is_open = False
        while self._residents:
            _, resident = self._residents.popitem()
            resident.close()


RESIDENCE = Residence()
"""That of this process."""
