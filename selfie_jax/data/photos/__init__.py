"""People's own images."""
