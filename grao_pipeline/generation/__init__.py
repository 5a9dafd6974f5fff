"""Prompts → groups: samples completions with their token ids and log-probs."""
