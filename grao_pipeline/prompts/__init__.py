"""Stages `prompts` and `curriculum`: any dataset → prompts (`build`), prompts of the next round (`curriculum`)."""
