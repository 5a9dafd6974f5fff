"""Kills, damaged bytes, malformed inputs, failing stores and racing processes, for as long as one likes.

    python -m benchmarks.chaos --minutes 10

Each campaign is a module with `trials(place, seed)`, which goes on forever and draws everything from the seed.
"""
