"""Everything about a model outside training: its directory, chat template, engine process and server."""
