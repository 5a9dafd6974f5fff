"""Separate processes with limits, for calls that may never end and code that may do harm."""
