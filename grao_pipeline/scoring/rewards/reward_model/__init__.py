"""Reward models: a sequence classifier's score of a conversation. The seam of the engines that run it is `base.py`."""
