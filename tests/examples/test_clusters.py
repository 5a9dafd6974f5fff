"""examples/clusters: the files are plans and scripts that run; Slurm is simulated by processes of this machine."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from grao_pipeline.models.manifest import read_model_manifest
from grao_pipeline.testing import prompt_row, write_table
from tests import tiny
from tests.s3_server import s3_server
from tests.shell_commands import quick_grao

CLUSTERS = Path(__file__).parents[2] / "examples" / "clusters"
ON_CPU = {
    "GENERATE_OPTIONS": "--engine transformers --device cpu --samples 2 --max-new-tokens 4 --prompts-per-part 2",
    "SCORE_OPTIONS": "--reward length --reward-arg target=12 --reward-arg unit=characters",
    "TRAIN_OPTIONS": "--device cpu --groups-per-step 4 --learning-rate 1e-3",
    "WORKERS": "3",
    "OMP_NUM_THREADS": "1",
}
SLURM = {
    # Jobs of an array run at the same time, and a job of several machines says so.
    "sbatch": """
        shift
        count=1
        if [[ $1 == --array=0-* ]]; then count=$((${1#--array=0-} + 1)); shift; fi
        script=$1; shift
        export SLURM_JOB_ID=$$ SLURM_JOB_NODELIST=here,there SLURM_JOB_NUM_NODES=2 SLURM_ARRAY_TASK_COUNT=$count
        for id in $(seq 0 $((count - 1))); do SLURM_ARRAY_TASK_ID=$id bash "$script" "$@" & jobs+=($!); done
        for job in "${jobs[@]}"; do wait "$job"; done
    """,
    "srun": """
        for node in 1 2; do "$@" & jobs+=($!); done
        for job in "${jobs[@]}"; do wait "$job"; done
    """,
    "scontrol": "printf 'localhost\\nlocalhost\\n'",
}
"""What the scripts use of Slurm."""


@pytest.fixture
def place(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the examples: `models/base`, `data/train` and `data/prompts.jsonl`."""
    rows = [prompt_row(f"Say {number}.", str(number)) for number in range(10)]
    write_table(tmp_path / "data" / "train", "prompts", rows)
    lines = [f'{{"prompt": "Say {number}.", "reference": "{number}"}}\n' for number in range(10)]
    (tmp_path / "data" / "prompts.jsonl").write_text("".join(lines))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    s3fs = pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with s3_server("bucket") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
        s3fs.S3FileSystem.clear_instance_cache()


def environment(place: Path, more: Mapping[str, str] = {}) -> dict[str, str]:
    """Of the scripts, where they find the commands of Slurm, and `grao`."""
    shims = place / "slurm"
    shims.mkdir(exist_ok=True)
    for name, script in SLURM.items():
        (shims / name).write_text(f"#!/bin/bash\nset -e\n{script}\n")
        (shims / name).chmod(0o755)
    root = str(CLUSTERS.parents[1])
    paths = {"PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": root, "GRAO_JOBS": str(CLUSTERS)}
    return {**os.environ, **ON_CPU, **paths, **more}


def run(place: Path, script: str, *arguments: object, **more: str) -> None:
    given = environment(place, more)
    with quick_grao(place / "slurm" / "grao"):
        ended = subprocess.run(
            ["bash", CLUSTERS / script, *map(str, arguments)], env=given, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stderr


def parts(table: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(table.glob("*.parquet"))}


def one_process(place: Path) -> tuple[Path, Path]:
    """Groups and scores as one process makes them."""
    groups, scores = place / "groups", place / "scores"
    tiny.grao_json("generate", "data/train", groups, "--model", "models/base", *ON_CPU["GENERATE_OPTIONS"].split())
    tiny.grao_json("score", groups, scores, *ON_CPU["SCORE_OPTIONS"].split())
    return groups, scores


@pytest.mark.parametrize("script", sorted(path.name for path in CLUSTERS.glob("*s*h")))
def test_every_script_is_one(script: str) -> None:
    checked = subprocess.run(["bash", "-n", CLUSTERS / script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_one_node_plans_every_round(place: Path) -> None:
    plan = tiny.grao_json("rounds", "plan", CLUSTERS / "one_node.yaml")
    names = [task["name"] for task in plan["tasks"]]
    assert [f"round-{number}/train" for number in range(4)] == [name for name in names if name.endswith("/train")]


@pytest.mark.slow
def test_an_object_store_is_planned_in_the_bucket(place: Path, bucket: None) -> None:
    plan = tiny.grao_json("rounds", "plan", CLUSTERS / "object_store.yaml")
    assert {task["state"] for task in plan["tasks"]} <= {"to do", "waits"}


@pytest.mark.slow
def test_the_jobs_of_a_slurm_driver_make_what_one_process_makes(place: Path) -> None:
    arguments = place / "data" / "train", place / "runs", place / "models" / "base", 1
    run(place, "driver.sbatch", *arguments)
    out = place / "runs" / "round-0"
    groups, scores = one_process(place)
    assert parts(out / "groups") == parts(groups)
    assert parts(out / "scores") == parts(scores)
    manifest = read_model_manifest(out / "model")
    assert manifest is not None
    assert manifest.summary["ranks"] == 2
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    run(place, "driver.sbatch", *arguments)  # nothing is regenerated
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_two_environments_meet_in_files(place: Path) -> None:
    commands = str(place / "slurm")
    run(place, "two_environments.sh", "data/train", "runs", "models/base", GEN=commands, TRAIN=commands)
    groups, scores = one_process(place)
    assert parts(place / "runs" / "groups") == parts(groups)
    assert parts(place / "runs" / "scores") == parts(scores)
    assert read_model_manifest(place / "runs" / "model") is not None
