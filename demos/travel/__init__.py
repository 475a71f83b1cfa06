"""Two agents in sequence. See README.md."""
