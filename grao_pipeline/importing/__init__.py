"""Groups that were sampled elsewhere → the groups table, and the rewards that they came with → a scores table."""
