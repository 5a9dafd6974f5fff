"""Descriptions of tables, models and evaluations for people."""
