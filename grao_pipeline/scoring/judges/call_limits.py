"""The most questions that a judge is asked, known without asking one."""

from grao_pipeline.arguments import parse_arguments
from grao_pipeline.parsing import key_values
from grao_pipeline.plugins import load
from grao_pipeline.scoring.judges.judge import Judge
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards import REWARDS


def calls_per_sequence(options: ScoreOptions, num_samples: int) -> int:
    """Most questions to a judge per sequence; 0 for a reward that is not a judge.

    Args:
        num_samples: samples per group (G).
    """
    judge: object = load("reward", options.reward, REWARDS)
    if not isinstance(judge, type) or not issubclass(judge, Judge):
        return 0
    given = key_values(options.reward_arg, "reward_arg")
    known = {name: text for name, text in given.items() if name.partition(".")[0] in judge.Arguments.model_fields}
    arguments = parse_arguments(judge.Arguments, known, f"reward '{options.reward}'", "reward_arg")
    return judge.max_questions(arguments, num_samples)
