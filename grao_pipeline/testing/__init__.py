"""What the tests of a plug-in need: fakes of every seam, tiny models made on the spot, and tables from plain rows.

Nothing here downloads anything, and importing this package loads neither torch nor Polars.

Example, the test of a reward (`my_rewards.py` of the README):

    from grao_pipeline import ScoreOptions, open_table, score_groups
    from grao_pipeline.testing import write_groups

    def test_polite(tmp_path):
        groups = write_groups(tmp_path / "groups", {"Ask for water.": ["Water, please.", "Water!"]})
        score_groups(groups, str(tmp_path / "scores"), ScoreOptions(reward="my_rewards:polite"))
        assert open_table(str(tmp_path / "scores")).arrow()["rewards"].to_pylist() == [[1.0, 0.0]]
"""

from grao_pipeline.lazy import LazyExports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from grao_pipeline.generation.engines.base import FakeEngine as FakeEngine
    from grao_pipeline.progress import RecordedProgress as RecordedProgress
    from grao_pipeline.scoring.judges.base import FakeChatModel as FakeChatModel
    from grao_pipeline.scoring.rewards.base import FakeReward as FakeReward
    from grao_pipeline.testing.models import CHAT_TEMPLATE as CHAT_TEMPLATE
    from grao_pipeline.testing.models import TEXTS as TEXTS
    from grao_pipeline.testing.models import make_tiny_model as make_tiny_model
    from grao_pipeline.testing.models import make_tiny_reward_model as make_tiny_reward_model
    from grao_pipeline.testing.models import make_tiny_tokenizer as make_tiny_tokenizer
    from grao_pipeline.testing.models import random_model as random_model
    from grao_pipeline.testing.models import train_tokenizer as train_tokenizer
    from grao_pipeline.testing.tables import group_row as group_row
    from grao_pipeline.testing.tables import prompt_row as prompt_row
    from grao_pipeline.testing.tables import score_row as score_row
    from grao_pipeline.testing.tables import write_groups as write_groups
    from grao_pipeline.testing.tables import write_table as write_table
    from grao_pipeline.training.objectives.base import FakeObjective as FakeObjective

_FAKES = {
    "FakeChatModel": "grao_pipeline.scoring.judges.base",
    "FakeEngine": "grao_pipeline.generation.engines.base",
    "FakeObjective": "grao_pipeline.training.objectives.base",
    "FakeReward": "grao_pipeline.scoring.rewards.base",
    "RecordedProgress": "grao_pipeline.progress",
}
_MODELS = (
    *("CHAT_TEMPLATE", "TEXTS", "make_tiny_model", "make_tiny_reward_model", "make_tiny_tokenizer"),
    *("random_model", "train_tokenizer"),
)
_TABLES = ("group_row", "prompt_row", "score_row", "write_groups", "write_table")
_EXPORTS = LazyExports(
    __name__,
    _FAKES
    | dict.fromkeys(_MODELS, "grao_pipeline.testing.models")
    | dict.fromkeys(_TABLES, "grao_pipeline.testing.tables"),
)
__all__ = _EXPORTS.names()
if not TYPE_CHECKING:
    __getattr__, __dir__ = _EXPORTS.load, _EXPORTS.directory
