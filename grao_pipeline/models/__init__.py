"""A model from outside: where it is, its chat template, its process, its server."""
