"""`python-tests`: verdicts, every limit of the sandbox reached for real, and escapes that must fail."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import UsageError
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Candidate, Judgement
from tests.scoring.common import judge, rewards

ADD = "def add(a, b):\n    return a + b\n"
THREE = "def add(a, b):\n    return 3\n"
TESTS = "import math\nassert add(1, 2) == 3\nassert add(2, 2) == math.sqrt(16)\n"


def run(code: str, *arguments: str, tests: Any = TESTS) -> Judgement:
    (judgement,) = judge("python-tests", [code], "workers=1", *arguments, tests=tests)
    return judgement


@pytest.mark.slow
def test_code_that_passes_every_test_gets_one_and_any_other_zero() -> None:
    assert run(ADD) == Judgement(1.0, "ok", "2 of 2 tests passed")
    failed = "1 of 2 tests passed; test 2: AssertionError: assert add(2, 2) == math.sqrt(16)"
    assert run(THREE) == Judgement(0.0, "ok", failed)
    assert run(THREE, "partial=true") == Judgement(0.5, "ok", failed)


@pytest.mark.parametrize(
    "completion",
    [
        f"Sure:\n```python\n{ADD}```\nThat adds.",
        f"```python\n{THREE}```\nNo, better:\n```py\n{ADD}```",  # the last block
        f"```Python3\n{ADD}\n```\n```bash\nrm -rf /\n```",
    ],
)
def test_the_code_is_the_last_python_block(completion: str) -> None:
    assert run(completion).reward == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        f"Here it is:\n```\n{ADD}```\n",
        f"Here it is:\n```python\n{ADD}",
        f"{ADD}```\nThat adds.",
        f"python\n{ADD}```",
        f"```python\n{ADD}```\nExample:\n```python\nprint(add(2, 3))\n```",
        "```py\ndef plus(a, b):\n    return a + b\n```\n~~~~python\ndef add(a, b):\n    return plus(a, b)\n~~~~",
        "1. Code:\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n",
        f"```python title=add.py\r\n{ADD}```\nOutput:\n```\n3\n```",
        f"```{{.python}}\n{ADD}```\n```python\n>>> add(1, 2)\n3\n```",
    ],
)
def test_usual_layouts_of_a_right_solution_pass(completion: str) -> None:
    assert run(completion).reward == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        f"```python\n{ADD}```\nNo, better:\n```python\n{THREE}```",  # the last definition counts
        f"```bash\n{ADD}```",
        f"```text\n{ADD}```\n```python\nadd = None\n```",
    ],
)
def test_blocks_of_another_language_and_withdrawn_solutions_do_not_pass(completion: str) -> None:
    assert run(completion).reward == 0.0


@pytest.mark.parametrize(
    ("tests", "reward", "detail"),
    [
        ("def check(f):\n    assert f(1, 2) == 3\ncheck(add)", 1.0, "1 of 1 tests passed"),
        (["assert add(1, 1) == 2", "x = add(0, 1)\nassert x == 2"], 0.5, "1 of 2 tests passed; test 2: AssertionError"),
        ("assert add(1, 1) == 2, 'one'; assert add(1, 2) == 4, 'two'", 0.5, "1 of 2 tests passed; test 2: Asser"),
        ("x = 1 / 0\nassert add(1, 1) == 2", 1.0, "1 of 1 tests passed; preparing the tests: ZeroDivisionError"),
    ],
)
def test_asserts_of_a_string_and_elements_of_a_list_are_tests(tests: Any, reward: float, detail: str) -> None:
    judgement = run(ADD, "partial=true", tests=tests)
    assert judgement.reward == reward
    assert (judgement.detail or "").startswith(detail)


def test_tests_that_could_not_be_prepared_do_not_all_pass() -> None:
    assert run(ADD, tests="x = 1 / 0\nassert add(1, 1) == 2").reward == 0.0


@pytest.mark.slow
def test_tests_after_an_endless_test_do_not_pass() -> None:
    tests = ["assert add(1, 1) == 2", "while True: pass", "assert add(1, 1) == 2"]
    judgement = run(ADD, "partial=true", "timeout=1", tests=tests)
    assert judgement == Judgement(1 / 3, "ok", "1 of 3 tests passed; test 2: more than 1 s of CPU time")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def add(a, b", "SyntaxError"),
        ("while True: pass", "more than 1 s of CPU time"),
        ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "ended by SIGKILL"),
        ("import signal\nsignal.raise_signal(signal.SIGSEGV)", "ended by SIGSEGV"),
        ("import signal\nsignal.raise_signal(signal.SIGRTMIN + 3)", "ended by signal "),
        ("import time\ntime.sleep(1000)", "no end within 8 s"),
        ("everything = [0] * 10**9", "MemoryError"),
        ("def f():\n    f()\nf()", "RecursionError"),
        ("open('huge', 'wb').write(bytes(10**8))", "File too large"),
        ("files = [open(str(i), 'w') for i in range(1000)]", "Too many open files"),
        ("import os\nwhile True: os.fork()", "no access to processes"),
        ("import subprocess\nsubprocess.run(['true'])", "no access to processes"),
        ("import os\nos.system('true')", "no access to processes"),
        ("import multiprocessing\nmultiprocessing.Process(target=print).start()", "no access to processes"),
        ("import threading\nthreading.Thread(target=print).start()", "no access to threads"),
        ("import os\nos.kill(os.getppid(), 9)", "no access to processes"),
        ("import socket\nsocket.socket()", "no access to the network"),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1')", "no access to the network"),
        ("open('/etc/passwd')", "no access to '/etc/passwd'"),
        ("open(f'/proc/{__import__(\"os\").getppid()}/environ')", "no access to '/proc/"),
        ("import os\nos.symlink('/etc', 'link')", "no access to '/etc'"),
        ("import os\nos.chdir('/')", "no access to another directory"),
        ("import sqlite3\nsqlite3.connect('/tmp/other.db')", "no access to '/tmp/other.db'"),
        ("import ctypes\nctypes.CDLL(None)", "no access to foreign functions"),
        ("import numpy", "No module named 'numpy'"),
        ("import grao_pipeline", "No module named 'grao_pipeline'"),
        ("input()", "EOFError"),
        ("raise ValueError('\\ud800')", "ValueError: ?"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E", "E: "),
    ],
)
def test_each_limit_holds_and_is_named(code: str, problem: str) -> None:
    judgement = run(code + "\n" + ADD, "timeout=1")
    assert judgement.reward == 0.0
    assert (judgement.detail or "").startswith("0 of 2 tests passed; the code: ")
    assert problem in (judgement.detail or "")


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_the_network_namespace_cannot_even_reach_this_machine() -> None:
    """The first of two fences, tried without the second, the audit hook."""
    code = """
import os, socket, sys
from grao_pipeline.scoring.sandbox.confinement import isolate_network
before = os.stat("/proc/self/ns/net").st_ino
isolate_network()
granted = os.stat("/proc/self/ns/net").st_ino != before
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
except OSError:
    print("separated" if granted else "no connection, and no namespace")
else:
    print("a namespace that is connected" if granted else "not granted")
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", code, str(server.getsockname()[1])]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.strip() in ("separated", "not granted")


@pytest.mark.slow
def test_nothing_outside_its_directory_can_be_written_or_deleted(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("kept")
    for code in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"import os\nos.open({str(tmp_path / 'new')!r}, os.O_CREAT)",
        f"import pathlib\npathlib.Path({str(tmp_path / 'keep')!r}).unlink()",
        f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
        f"import os\nos.rename({str(tmp_path / 'keep')!r}, 'here')",
        f"import os\nos.link({str(tmp_path / 'keep')!r}, 'here')",
        f"import os\nos.mkdir({str(tmp_path / 'new')!r})",
        f"import os\nos.truncate({str(tmp_path / 'keep')!r}, 0)",
    ):
        judgement = run(code + "\n" + ADD)
        assert (judgement.reward, "no access to" in (judgement.detail or "")) == (0.0, True), (code, judgement)
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]
    assert (tmp_path / "keep").read_text() == "kept"


def test_no_secret_of_the_environment_reaches_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "xyzzy")
    code = "import os\nassert set(os.environ) <= {'PATH', 'HOME', 'TMPDIR', 'LANG', 'PYTHONHASHSEED', 'LC_CTYPE'}\n"
    assert run(code + ADD).reward == 1.0


def test_ordinary_code_has_what_it_needs() -> None:
    code = """
import collections, dataclasses, decimal, heapq, itertools, json, os, pickle, random, re, sqlite3, sys, tempfile

@dataclasses.dataclass
class Pair:
    left: 'int'
    right: 'int' = 2

assert pickle.loads(pickle.dumps(Pair(1))) == Pair(1)
with tempfile.TemporaryDirectory() as directory:
    with open(os.path.join(directory, "f"), "w") as file:
        file.write("x")
sqlite3.connect("here.db").execute("create table t (x)")
sys.setrecursionlimit(10_000)
print("a lot of output" * 100_000)
if __name__ == "__main__":
    raise SystemExit("a script's own main is not run")
"""
    assert run(code + ADD) == Judgement(1.0, "ok", "2 of 2 tests passed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "import os\ndef add(a, b):\n    os._exit(0)",
        "def add(a, b):\n    raise SystemExit(0)",
        "import builtins\nbuiltins.AssertionError = builtins.exec = builtins.compile = print",
        # guesses of the nonce, on standard output and on every descriptor
        'print(("0" * 32 + \' {"test": 0, "failed": null}\\n\') * 9)',
        "import os\nfor d in range(64):\n    try: os.write(d, b'0' * 32 + b' {\"test\": 0, \"failed\": null}\\n')\n"
        "    except OSError: pass",
        "import os\nwhile True:\n    for d in range(3, 64):\n        try: os.write(d, bytes(65536))\n"
        "        except OSError: pass",
        "import sys\nsys.modules['completion'] = None",
    ],
)
def test_an_early_exit_or_a_forged_report_passes_no_test(code: str) -> None:
    for partial in ("false", "true"):
        assert run(code, f"partial={partial}", "timeout=1").reward == 0.0


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (None, "metadata has no 'tests'"),
        ("assert (", "metadata 'tests' is not Python (SyntaxError"),
        ("", "metadata 'tests' holds a test without a statement"),
        ([], "metadata 'tests' is neither a string nor a list of strings"),
        (["assert True", 3], "metadata 'tests' is neither a string nor a list of strings"),
        ({"a": 1}, "metadata 'tests' is neither a string nor a list of strings"),
    ],
)
def test_invalid_tests_are_an_error(tests: Any, reason: str) -> None:
    judgement = run(ADD, tests=tests)
    assert (judgement.reward, judgement.status) == (None, "error")
    assert (judgement.detail or "").startswith(reason)


@pytest.mark.slow
def test_completions_run_in_parallel_and_keep_their_order() -> None:
    texts = [ADD.replace("a + b", f"a + b + {i % 2}") for i in range(12)]
    values = rewards(judge("python-tests", texts, "workers=4", "field=cases", cases=TESTS))
    assert values == [1.0, 0.0] * 6


@pytest.mark.slow
def test_a_verdict_does_not_depend_on_the_hash_seed() -> None:
    code = f"order = {json.dumps([f'word{i}' for i in range(20)])}\ndef add(a, b): return list(set(order))\n"
    orders = {run(code, tests="raise ValueError(add(1, 2))").detail for _ in range(3)}
    assert len(orders) == 1


@pytest.mark.slow
def test_no_file_is_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()\nos.chmod('a', 0)\nwhile True: pass", "timeout=1")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("argument", ["timeout=0.5", "memory_mib=63", "workers=0", "partial=maybe"])
def test_a_wrong_argument_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match=f"reward_arg: {argument}: input should be .* \\(reward 'python-tests'\\)"):
        judge("python-tests", [ADD], argument, tests=TESTS)


def test_the_summary_says_where_the_code_ran_and_which_tests_it_could_forge() -> None:
    reward = make_reward(ScoreOptions(reward="python-tests", reward_arg=["sandbox=process", "workers=1"]))
    assert reward.remarks() == []
    for tests in (TESTS, "class Node: pass\nassert add(1, 2) == 3"):
        assert [j.reward for j in reward.score([Candidate([], ADD, None, {"tests": tests})])] == [1.0]
    ran, forgeable = reward.remarks()
    assert ran == "The code ran in: process."
    assert forgeable.startswith("1 runs had their tests in the process of the code, since the tests use: class (1).")


def test_only_a_sandbox_with_another_python_is_another_reward() -> None:
    def identity(sandbox: str) -> object:
        return make_reward(ScoreOptions(reward="python-tests", reward_arg=[f"sandbox={sandbox}"])).identity()

    assert identity("auto") == identity("process") == identity("bubblewrap")
    assert identity("auto") != identity("docker") != identity("http://localhost:1/") != identity("auto")
