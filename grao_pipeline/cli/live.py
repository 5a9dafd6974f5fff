"""A live bar on a terminal, drawn by rich; imported only where one is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from grao_pipeline.cli.lines import Level, LineProgress, print_line
from grao_pipeline.cli.task_state import TaskState
from grao_pipeline.cli.terminal import visible
from grao_pipeline.progress import Bar, Fact

DRAWINGS_PER_SECOND = 4.0
BAR_WIDTH = 24


class LiveProgress(LineProgress):
    """Shows the innermost task at the bottom of the terminal, and lines above it. Nothing of a bar stays when its task
    has ended.

    Args:
        level: with `debug`, the log lines of tasks are printed, too.
    """

    def __init__(self, level: Level) -> None:
        super().__init__(level)
        self._tasks: list[TaskState] = []
        self._live: Live | None = None
        self._spinner = Spinner("dots")
        self._lock = RLock()

    def track(self, what: str, total: float | None = None, unit: str = "", initial: float = 0) -> Bar:
        return LiveBar(self, TaskState(what, total, unit, initial))

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            hidden, self._tasks = self._tasks, []
            self._show_or_hide()
        try:
            yield
        finally:
            with self._lock:
                self._tasks = hidden
                self._show_or_hide()

    def open(self, task: TaskState) -> None:
        with self._lock:
            self._tasks.append(task)
            self._show_or_hide()
            self._draw()

    def close(self, task: TaskState) -> None:
        with self._lock:
            self._draw()  # how it ended, however short it was
            self._tasks.remove(task)
            self._show_or_hide()

    def _show_or_hide(self) -> None:
        if self._tasks and self._live is None:
            self._live = Live(
                console=Console(stderr=True),
                get_renderable=self._drawing,
                refresh_per_second=DRAWINGS_PER_SECOND,
                transient=True,
                redirect_stdout=False,  # what is printed there is the summary
            )
            self._live.start()
        elif not self._tasks and self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.refresh()

    def _drawing(self) -> RenderableType:
        """Called by rich's thread, too, which must not wait for ours."""
        tasks = self._tasks
        if not tasks:
            return Text()
        task = tasks[-1]
        cells: list[RenderableType] = [self._spinner, Text(visible(task.what))]
        if task.total:
            cells.append(ProgressBar(task.total, min(task.done, task.total), width=BAR_WIDTH))
        columns = [Column(no_wrap=True) for _ in cells]
        grid = Table.grid(*columns, Column(no_wrap=True, ratio=1), padding=(0, 1), expand=True)
        grid.add_row(*cells, Text(task.count_and_rate(), overflow="ellipsis"))
        facts = Text(visible(f"  {task.facts_in_words()}"), no_wrap=True, overflow="ellipsis")
        return Group(grid, facts) if task.facts else grid


class LiveBar(Bar):
    """A task of `LiveProgress`."""

    def __init__(self, progress: LiveProgress, state: TaskState) -> None:
        self._progress = progress
        self._state = state

    def __enter__(self) -> "LiveBar":
        self._state.start()
        self._progress.open(self._state)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close(self._state)

    def advance(self, num: float = 1, **facts: Fact) -> None:
        self._state.advance(num, facts)

    def log(self, message: str) -> None:
        if self._progress.level == "debug":
            print_line(message)
