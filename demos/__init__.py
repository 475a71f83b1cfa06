"""Runnable examples: each folder is one, `demos/travel/run` starts it. See README.md."""
