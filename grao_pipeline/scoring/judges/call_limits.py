"""How many questions a judge is asked, known without making one."""

from grao_pipeline.parsing import key_values
from grao_pipeline.scoring.options import ScoreOptions


def calls_per_sequence(options: ScoreOptions, num_samples: int) -> int:
    """Questions to a judge per sequence, at most; 0 for a reward that is no built-in judge.

    Args:
        num_samples: of a group (G).
    """
    if not options.reward.startswith("judge-"):
        return 0
    arguments = key_values(options.reward_arg, "reward_arg")
    orders = 1 if arguments.get("swap", "true").lower() == "false" else 2
    if options.reward == "judge-win-rate":
        given = arguments.get("opponents", "4")
        return orders * (num_samples - 1 if given == "all" else min(int(given), num_samples - 1))
    return orders if options.reward == "judge-pairwise" else 1
