"""Models and tables → repositories of the Hugging Face hub, with cards made from their provenance."""
