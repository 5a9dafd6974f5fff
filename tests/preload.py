"""What the process imports that forks commands (`tests/commands.py`): all that they import, and nothing that computes.

It may have no threads, which a fork would lose (see `HARMLESS_THREADS` there): Arrow's and Polars' memory need none.
"""

from grao_pipeline.environment import environment
from grao_pipeline.nursery import LIBRARIES, import_for_forks
from grao_pipeline.pipeline import STAGES

NO_THREAD = "background_thread:false"
MODULES = [
    *LIBRARIES,
    *("torch.distributed.launcher.api", "torch.distributed.checkpoint.state_dict", "yaml", "fsspec", "jsonschema"),
    *("pyarrow.parquet", "pyarrow.compute", "polars", "numpy.ma", "numpy.ctypeslib", "torch.profiler"),
    *("grao_pipeline.cli.main", "grao_pipeline.cli.command", "grao_pipeline.rounds.loop"),
    *(stage.verb.partition(":")[0] for stage in STAGES),
]

with environment({"JE_ARROW_MALLOC_CONF": NO_THREAD, "_RJEM_MALLOC_CONF": NO_THREAD}):
    import_for_forks(MODULES)
