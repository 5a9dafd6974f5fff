"""Metrics of trainings and rounds → trackers, followed from outside: a tracker can never stop a training."""
