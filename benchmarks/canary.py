"""The whole demo with secrets in the environment and every feature on; then a search for them in all that it left.

    python -m benchmarks.canary            # five minutes on two cores

Rounds, four trackers where they are installed, a judge on a server that repeats the key, comparisons, exports, the
hub, a report, the sample browser, a machine's diagnosis: every file that they write and every word that they print is
searched. The exit code is 1 where a secret is found, or a command failed that must not.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import click

from benchmarks.common import installed_environment, print_table
from tests.canary import CANARY, VARIABLES, readable
from tests.hub.fake_hub import FakeHub, serving_hub
from tests.scoring.judges.common import Answer, judge_server

ROOT = Path(__file__).parents[1]
TRACKERS = ("tensorboard", "trackio", "mlflow", "wandb")
RUN = Path("runs/demo")


@dataclass
class Demo:
    """The commands so far, in a directory.

    Attributes:
        printed: the words of each command, and what it printed.
        failed: those that failed, and must not.
    """

    place: Path
    environment: dict[str, str]
    printed: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def run(self, *words: object, may_fail: bool = False, variables: Mapping[str, str] = {}) -> None:
        """Run a module with its arguments."""
        command = [sys.executable, "-m", *map(str, words)]
        end = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.place, env={**self.environment, **variables}
        )
        name = " ".join(map(str, words))
        self.printed[name] = end.stdout + end.stderr
        click.echo(f"{end.returncode}  {name}", err=True)
        if end.returncode and not may_fail:
            self.failed.append(f"{name}: {end.stderr[-500:]}")

    def grao(self, *words: object, may_fail: bool = False, variables: Mapping[str, str] = {}) -> None:
        self.run("grao_pipeline", *words, may_fail=may_fail, variables=variables)


@click.command()
def main() -> None:
    """Print what was searched, and where a secret was found."""
    with tempfile.TemporaryDirectory(prefix="grao-canary-") as directory:
        place = Path(directory)
        (place / "examples").symlink_to(ROOT / "examples")
        secrets = dict.fromkeys(VARIABLES, CANARY) | {"WANDB_MODE": "offline", "GRAO_CACHE": str(place / "cache")}
        inherited = {name: value for name, value in installed_environment().items() if not name.startswith("GRAO_")}
        demo = Demo(place, {**inherited, **secrets, "PYTHONPATH": str(ROOT)})
        _run_all(demo)
        files = [path for path in place.rglob("*") if path.is_file() and not _is_example(path, place)]
        leaks = [str(path.relative_to(place)) for path in files if CANARY.encode() in readable(path)]
        leaks += [f"printed by {name}" for name, text in demo.printed.items() if CANARY in text]
        rows = [["commands", len(demo.printed)], ["files searched", len(files)], ["secrets found", len(leaks)]]
        print_table("Secrets in the outputs of the demo", ["what", "number"], rows)
        for line in [*leaks, *demo.failed]:
            click.echo(line)
    if leaks or demo.failed:
        raise SystemExit(1)


def _run_all(demo: Demo) -> None:
    demo.run("examples.demo")
    groups, scores, model = RUN / "round-0/generate", RUN / "round-0/score-translation", RUN / "round-2/train"
    for tracker in TRACKERS:
        if find_spec(tracker):
            demo.grao("log", RUN, "--to", tracker)
    for verb in ("status", "plan"):
        demo.grao("rounds", verb, "examples/demo/rounds.yaml", "--json")
    for path in (RUN / "prompts/train", groups, scores, RUN / "round-0/advantages", model, RUN / "round-2/evaluate"):
        demo.grao("inspect", path)
    demo.grao("audit", groups, scores)
    demo.grao("compare", groups, scores, scores)
    demo.grao("export", groups, "pairs.parquet", "--scores", scores)
    demo.grao("verify", model, "--look-in", RUN / "store")
    for words in (("du", RUN), ("doctor",), ("cache", "info"), ("plugins", "list")):
        demo.grao(*words, may_fail=words == ("doctor",))  # of what is not installed here
    with judge_server() as server:
        server.rule = lambda blocks: Answer({"score": 3})
        judge = ("--reward", "judge-rubric", "--reward-arg", f"base_url={server.base_url}")
        demo.grao("score", groups, "judged", *judge)
        server.refuse = lambda _: Answer(status=401, error=f"wrong key {CANARY}", headers=(("X-Key", CANARY),))
        demo.grao("score", groups, "refused", *judge, "--no-use-cache", may_fail=True)
    with serving_hub(FakeHub(token=CANARY)) as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        for path, name in ((model, "me/model"), (groups, "me/groups")):
            demo.grao("push", path, name, variables=online)
        pushed = demo.place / "pushed"
        pushed.mkdir()
        for number, files in enumerate(hub.files.values()):
            for name, data in files.items():
                (pushed / f"{number}-{name.replace('/', '-')}").write_bytes(data)
    demo.grao(
        "push", model, "me/model", may_fail=True, variables={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    )
    browser = build_opener(HTTPCookieProcessor())  # the address holds a token, which becomes a cookie
    with _viewing(demo) as url:
        for name in ("", "api/sets"):
            with browser.open(f"{url.partition('?')[0]}{name}" if name else url) as page:
                (demo.place / f"view-{name.replace('/', '-')}").write_bytes(page.read())


@contextmanager
def _viewing(demo: Demo) -> Iterator[str]:
    """The sample browser, while it runs; its address."""
    command = [sys.executable, "-m", "grao_pipeline", "view", str(RUN), "--port", "0", "--no-open"]
    with subprocess.Popen(
        command, cwd=demo.place, env=demo.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if address := re.search(r"http://\S+", line):
                    yield address[0]
                    return
        finally:
            process.terminate()
    raise click.ClickException("grao view has not started.")


def _is_example(path: Path, place: Path) -> bool:
    return path.is_relative_to(place / "examples")


if __name__ == "__main__":
    main()
