"""Prompts → groups: sampling completions with their token ids and log-probabilities."""
