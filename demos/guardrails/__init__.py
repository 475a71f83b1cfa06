"""Filters before an agent: guardrails and retrieval. See README.md."""
