"""Built-in scenes with exact answers."""
