"""What `--seed` reproduces: samples of the same prompts and seed under two settings, compared one by one.

    python -m benchmarks.reproducibility
    python -m benchmarks.reproducibility --device cuda        # float32 and bfloat16 on a GPU

Every run is a separate process. The row of a pair has the number of samples with the same token ids, and the largest
difference of their log-probs. The temperature is 1, where every difference shows.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.common import describe_machine, make_model, print_table, write_prompts
from grao_pipeline.storage.reader import open_table


@dataclass(frozen=True)
class Setting:
    """One way to run `grao generate`."""

    name: str
    arguments: tuple[str, ...]


def settings(dtype: str) -> list[Setting]:
    precision = ("--dtype", dtype)
    vllm = ("--engine", "vllm", *precision, "--engine-arg", "kv_cache_memory_bytes=268435456")
    transformers = ("--engine", "transformers", *precision)
    return [
        Setting("transformers, 32 prompts a batch", (*transformers, "--batch-size", "32")),
        Setting("transformers, 3 prompts a batch", (*transformers, "--batch-size", "3")),
        Setting("vllm, 256 sequences at once", (*vllm, "--engine-arg", "max_num_seqs=256")),
        Setting("vllm, again", (*vllm, "--engine-arg", "max_num_seqs=256")),
        Setting("vllm, 7 sequences at once", (*vllm, "--engine-arg", "max_num_seqs=7")),
    ]


PAIRS = [(0, 1), (2, 3), (2, 4), (0, 2)]


def compare(first: str, second: str) -> tuple[int, int, float]:
    """(samples, equal samples, largest difference of the equal samples' log-probs in nats)."""
    rows = zip(*(open_table(url, "groups").arrow().to_pylist() for url in (first, second)), strict=True)
    total, equal, difference = 0, 0, 0.0
    for one, other in rows:
        columns = ("completion_token_ids", "completion_logprobs")
        for ids, logprobs, other_ids, other_logprobs in zip(
            *(one[name] for name in columns), *(other[name] for name in columns), strict=True
        ):
            total += 1
            if ids == other_ids:
                equal += 1
                difference = max([difference, *(abs(a - b) for a, b in zip(logprobs, other_logprobs, strict=True))])
    return total, equal, difference


@click.command()
@click.option("--model", default=None, help="Model directory or hub id; a random one of 7 M parameters by default.")
@click.option("--prompts", "num_prompts", default=48, show_default=True)
@click.option("--max-new-tokens", default=64, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(model: str | None, num_prompts: int, max_new_tokens: int, device: str) -> None:
    """Shares of equal samples under pairs of settings, in float32 and bfloat16."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        model = model or str(make_model(root / "model", 256, 4, 8192, 1024))
        prompts = write_prompts(root / "prompts", num_prompts, 40, 0)
        rows: list[list[object]] = []
        for dtype in ("float32", "bfloat16"):
            tables: dict[int, str | None] = {}
            for index, setting in enumerate(settings(dtype)):
                out = str(root / f"{dtype}-{index}")
                common = ["--model", model, "--temperature", "1.0", "--max-new-tokens", str(max_new_tokens)]
                command = [
                    sys.executable,
                    "-m",
                    "grao_pipeline",
                    "generate",
                    prompts,
                    out,
                    *common,
                    "--device",
                    device,
                ]
                process = subprocess.run([*command, *setting.arguments], capture_output=True, text=True, check=False)
                tables[index] = out if process.returncode == 0 else None
                if process.returncode != 0:
                    click.echo(
                        f"{dtype}, {setting.name}: exit code {process.returncode}: {process.stderr[-300:]}", err=True
                    )
            for one, other in PAIRS:
                first, second = tables[one], tables[other]
                label = [dtype, settings(dtype)[one].name, settings(dtype)[other].name]
                if first is None or second is None:
                    rows.append([*label, "–", "did not run", "–"])
                    continue
                total, equal, difference = compare(first, second)
                rows.append([*label, total, f"{equal} ({equal / total:.1%})", f"{difference:.1e}"])
    columns = ["dtype", "one", "other", "samples", "equal token ids", "largest log-prob difference"]
    print_table(f"Samples that one seed reproduces ({describe_machine()})", columns, rows)


if __name__ == "__main__":
    main()
