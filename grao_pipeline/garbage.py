"""How often Python looks for garbage in cycles, and at what."""

import gc

_ends_with_command = False


def collect_rarely() -> None:
    """Importing makes many objects that stay, and every collection would look at all of them: torch and transformers
    take a quarter less time to import."""
    gc.set_threshold(100_000)


def end_with_command() -> None:
    """Say that this process ends with the command that it runs, so that `keep_imports` takes effect."""
    global _ends_with_command
    _ends_with_command = True


def keep_imports() -> None:
    """Look no more at what is imported: the end of a process that loaded torch takes 0.3 s instead of 1.1 s. A process
    that goes on after its command (a notebook, a worker of the rounds) may have garbage by now, and looks at all."""
    if _ends_with_command:
        gc.freeze()
