"""Deal the groups of a step to the ranks."""

from collections.abc import Sequence


def balance(sizes: Sequence[int], num_ranks: int) -> list[list[int]]:
    """Deal items to ranks: the largest first, always to the rank with the smallest load so far.

    Args:
        sizes: of the items, e.g. tokens of groups.

    Returns:
        ascending indices of the items of every rank; some are empty where there are fewer items than ranks.

    Example: `balance([5, 3, 3, 1], 2)` is `[[0, 3], [1, 2]]`.
    """
    shares: list[list[int]] = [[] for _ in range(num_ranks)]
    loads = [0] * num_ranks
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        rank = min(range(num_ranks), key=lambda rank: (loads[rank], rank))
        shares[rank].append(index)
        loads[rank] += sizes[index]
    return [sorted(share) for share in shares]
