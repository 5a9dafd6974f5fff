"""Reward models: a classifier's or a language model's score of a conversation."""
