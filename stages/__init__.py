"""The commands: options → config → one library call → summary. No logic lives here."""
