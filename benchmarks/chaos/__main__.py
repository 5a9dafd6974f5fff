"""Run the campaigns in turn until the time is over, and print what came of them.

    python -m benchmarks.chaos --minutes 10
    python -m benchmarks.chaos --minutes 60 --only kills --seed 7

The exit code is 1 if anything happened that must not: a traceback, a hang, another result, damage that nobody named.
"""

import importlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.chaos.place import Place
from benchmarks.chaos.trial import Trial

CAMPAIGNS = {
    "kills": "SIGKILL at random moments of every stage; the end is compared with an undisturbed run",
    "damage": "one bit flipped, or the end cut off, in every kind of file",
    "fuzz": "malformed sources, tables, models, outputs, configurations and options",
    "disks": "full and read-only disks, too few open files; then the same command on a good disk",
    "stores": "an S3 server that refuses, delays, cuts off and corrupts its answers",
    "processes": "SIGKILL of a command with --processes 2, or of one of its processes, at random moments",
    "concurrency": "the same command twice at once, and shared caches",
}
"""Each is the module of its name in this package."""
TURN_SECONDS = {"kills": 90.0, "disks": 40.0, "processes": 60.0, "fuzz": 50.0}
"""How long a campaign runs before the next has its turn, where it is not `SECONDS`."""
SECONDS = 10.0


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long to go on.")
@click.option("--seed", default=0, show_default=True, help="Seed of all campaigns.")
@click.option("--only", default=",".join(CAMPAIGNS), show_default=True, help="Campaigns, separated by commas.")
def main(minutes: float, seed: int, only: str) -> None:
    """Try to break every stage, with kills, damaged bytes, malformed inputs, failing stores and races."""
    names = [name.strip() for name in only.split(",")]
    unknown = [name for name in names if name not in CAMPAIGNS]
    if unknown:
        raise click.UsageError(f"No campaign '{unknown[0]}'. Campaigns: {', '.join(CAMPAIGNS)}.")
    place = Place(Path(tempfile.mkdtemp(prefix="grao-chaos-")) / "place")
    try:
        results = _run(place, names, seed, time.monotonic() + 60 * minutes)
    finally:
        place.close()
    _print(results, seed)
    if any(trial.bad for trials in results.values() for trial in trials):
        raise SystemExit(1)


def _run(place: Place, names: list[str], seed: int, end: float) -> dict[str, list[Trial]]:
    results: dict[str, list[Trial]] = {name: [] for name in names}
    trials: dict[str, Iterator[Trial]] = {
        name: importlib.import_module(f"benchmarks.chaos.{name}").trials(place, seed) for name in names
    }
    while time.monotonic() < end:
        for name in names:
            turn = min(end, time.monotonic() + TURN_SECONDS.get(name, SECONDS))
            while time.monotonic() < turn:
                trial = next(trials[name])
                results[name].append(trial)
                if trial.bad:
                    click.echo(f"{name}: {trial.what}: {trial.outcome}: {trial.detail}", err=True)
        click.echo("  ".join(f"{name} {len(results[name])}" for name in names), err=True)
    return results


def _print(results: dict[str, list[Trial]], seed: int) -> None:
    click.echo(f"Seed {seed}.\n")
    for name, trials in results.items():
        click.echo(f"**{name}**: {CAMPAIGNS[name]}\n\n| what | trials | kills | outcomes |\n|---|---|---|---|")
        for what in sorted({trial.what for trial in trials}):
            rows = [trial for trial in trials if trial.what == what]
            outcomes = Counter(trial.outcome for trial in rows)
            words = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            click.echo(f"| {what} | {len(rows)} | {sum(trial.kills for trial in rows) or ''} | {words} |")
        click.echo(f"| all | {len(trials)} | {sum(trial.kills for trial in trials) or ''} | |\n")


if __name__ == "__main__":
    main()
