"""Agents behind a listener: their answers as context for one another, and the filters on the way."""
