"""Fixtures that are expensive to make, shared by the session."""

import gc
import os
import shutil
import sys
import tempfile

if sys.dont_write_bytecode:  # collecting, and every process that tests start, would compile the same modules again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
# Before torch or vLLM is imported: one thread (two fight over busy cores), no compilation, no network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers would wait for whatever else the machine does
if "SSL_CERT_FILE" not in os.environ:  # a client of a server reads all of them, and the servers of the tests have none
    os.environ["SSL_CERT_FILE"] = os.path.join(os.path.dirname(__file__), "data", "certificate.pem")
CACHE = os.environ["GRAO_CACHE"] = tempfile.mkdtemp(prefix="grao-tests-cache-")

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.garbage import collect_rarely
from tests import tiny
from tests.models.vllm_server import VllmServer

pytest_plugins = ["tests.tiers"]


def pytest_configure() -> None:
    collect_rarely()
    # vLLM asks for this at the end of every engine, and looks for garbage then: it would look at all that is imported.
    gc.unfreeze = lambda: None


def pytest_collection_finish() -> None:
    gc.freeze()  # what is imported stays: who closes an engine and looks for garbage need not look at it


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data",
        type=Path,
        default=Path(__file__).parent / "data",
        metavar="DIR",
        help="Whole data sets instead of the few rows in tests/data; see tests/data/README.md for the layout.",
    )


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """Rows of public data sets: a few, or all with --real-data."""
    directory: Path = request.config.getoption("real_data")
    return directory


CACHES = count()


@pytest.fixture(autouse=True)
def own_cache_of_judgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one had judged."""
    monkeypatch.setenv("GRAO_CACHE", os.path.join(CACHE, str(next(CACHES))))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random causal language model with a chat template."""
    return tiny.make_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A prompts table of ten prompts, one without a reference."""
    rows = [tiny.prompt_row(f"Say the number {i}.", f"It is {i}.", answer=str(i)) for i in range(9)]
    rows.append(tiny.prompt_row("Say anything."))
    return tiny.write_table(tmp_path_factory.mktemp("prompts") / "table", "prompts", rows)


@pytest.fixture(scope="session")
def groups(tmp_path_factory: pytest.TempPathFactory, model: Path, prompts: str) -> str:
    """Groups that the tiny model sampled: three parts, four samples a prompt."""
    out = tmp_path_factory.mktemp("groups") / "table"
    options = ["--engine", "transformers", "--samples", 4, "--max-new-tokens", 12, "--prompts-per-part", 4]
    tiny.grao_json("generate", prompts, out, "--model", model, *options, "--temperature", 1.0)
    return str(out)


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[VllmServer]:
    """A real server of the tiny model, which it calls `tiny`: one for the whole session."""
    with VllmServer(model, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def advantages(tmp_path_factory: pytest.TempPathFactory, groups: str) -> str:
    """Advantages of the sampled groups: the nearer to three words, the better."""
    root = tmp_path_factory.mktemp("advantages")
    tiny.grao_json("score", groups, root / "scores", "--reward", "length", "--reward-arg", "target=3")
    tiny.grao_json("advantages", groups, root / "table", "--scores", root / "scores")
    return str(root / "table")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of this machine, shared by the tests."""
    import ray

    ray.init(
        num_cpus=4,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100 << 20,
    )
    yield ray
    ray.shutdown()
