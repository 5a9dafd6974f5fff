"""The tiers of the suite: markers that tests get by what they ask for, and the time limit of the fast tier.

`make test-fast` runs what is neither `slow` nor `vllm` nor `ray`, with few Hypothesis examples. Nobody has to remember
the last two markers: a test gets them by its fixtures, or by a parameter `engine` of that name. Only a test that starts
vLLM or Ray in another process names its marker itself, and so does a slow one.
"""

import importlib.util
import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import settings

FIXTURES = {
    "vllm": {"vllm_engine", "vllm_judge", "vllm_options", "vllm_server"},
    "ray": {"ray_cluster"},
}
"""Fixtures that open vLLM or Ray."""
PROPERTY = "cpu_seconds"
TESTS = Path(__file__).parent
LONGEST_ID = 80
"""Characters of a parameter in the name of a test."""

# The same examples in every run: a test does not pass or fail by chance.
settings.register_profile("full", max_examples=100, deadline=None, derandomize=True, database=None)
settings.register_profile("dev", settings.get_profile("full"), max_examples=20)
settings.load_profile("full")


def examples(number: int) -> int:
    """How many Hypothesis examples to try: `number`, or a fifth of it under `--hypothesis-profile dev`."""
    return max(1, number * settings().max_examples // settings.get_profile("full").max_examples)


@contextmanager
def engine_in_its_own_process() -> Iterator[None]:
    """A vLLM engine that is opened in this block gets a process. Where it shares that of the tests, the end of any
    other engine there breaks it: vLLM has one set of process groups per process.
    """
    before = os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"]
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    try:
        yield
    finally:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = before


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def package_of(item: pytest.Item) -> str | None:
    """Which of vLLM and Ray a test needs."""
    fixtures = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    engine = callspec and callspec.params.get("engine")
    for package, names in FIXTURES.items():
        if fixtures & names or engine == package or item.get_closest_marker(package):
            return package
    return None


def group_of(item: pytest.Item, package: str | None) -> str:
    """Tests of one group run in one process, without others between them (`--dist loadgroup`): those of a file, which
    share fixtures; those with vLLM, which takes ten seconds to import; those with Ray, whose cluster takes as long to
    start.
    """
    return package or str(item.path.relative_to(TESTS))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, before `-m` selects them; say which of them one process runs in a row, the longest row first
    (with xdist's `--no-loadscope-reorder`).
    """
    groups: dict[str, str] = {}
    slow: Counter[str] = Counter()
    for item in items:
        package = package_of(item)
        groups[item.nodeid] = group = group_of(item, package)
        slow[group] += package is not None or item.get_closest_marker("slow") is not None
        item.add_marker(pytest.mark.xdist_group(group))
        if package is None:
            continue
        item.add_marker(package)
        if not is_installed(package):
            item.add_marker(pytest.mark.skip(reason=f"needs {package}: pip install 'grao-pipeline[{package}]'"))
    sizes = Counter(groups.values())
    items.sort(key=lambda item: (-slow[groups[item.nodeid]], -sizes[groups[item.nodeid]], groups[item.nodeid]))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of tests are read: a long text in them is cut."""
    return f"{val[:LONGEST_ID]}..." if isinstance(val, str) and len(val) > LONGEST_ID else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cpu-limit",
        type=float,
        metavar="SECONDS",
        help="Fail the run if a test without the marker 'slow' takes more CPU time, its child processes included.",
    )
    parser.addoption("--cpu-durations", type=int, default=0, metavar="N", help="Show the N tests of most CPU time.")


def cpu_seconds() -> float:
    """CPU time of this process and of its children: about the same on a busy machine and on an idle one.

    Children that are still running, and the ended children of those, count where /proc tells (on Linux); but not what
    the process has imported that forks commands, which is done once, whichever test is the first.
    """
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    children: list[str] = []
    with suppress(OSError):  # not on Linux
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()  # of the main thread
    for pid in children:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            is_fork_server = b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
            seconds += sum(map(int, fields[13 if is_fork_server else 11 : 15])) / os.sysconf("SC_CLK_TCK")
    return seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Measure the test alone, where somebody asks: what its fixtures cost is shared with others."""
    if item.config.getoption("cpu_limit") is None and not item.config.getoption("cpu_durations"):
        return (yield)
    start = cpu_seconds()
    try:
        return (yield)
    finally:
        item.user_properties.append((PROPERTY, cpu_seconds() - start))


class Durations:
    """CPU times of the tests, in the process that reports them."""

    def __init__(self, limit: float | None, shown: int) -> None:
        self.limit = limit
        self.shown = shown
        self.seconds: dict[str, float] = {}
        self.too_slow: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties = dict(report.user_properties)
        if report.when != "call" or PROPERTY not in properties:
            return
        seconds = float(str(properties[PROPERTY]))
        self.seconds[report.nodeid] = seconds
        if self.limit is not None and seconds > self.limit and "slow" not in report.keywords:
            self.too_slow.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.too_slow and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in sorted(self.seconds, key=lambda nodeid: -self.seconds[nodeid])[: self.shown]:
            terminalreporter.write_line(f"{self.seconds[nodeid]:7.2f} CPU s  {nodeid}")
        for nodeid in self.too_slow:
            terminalreporter.write_line(
                f"{nodeid} took {self.seconds[nodeid]:.1f} s of CPU time; the limit is {self.limit:g} s. "
                "Make it faster, or mark it @pytest.mark.slow.",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations(config.getoption("cpu_limit"), config.getoption("cpu_durations")))
