"""What tables, models and runs look like to a person."""
