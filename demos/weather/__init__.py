"""Prompts that become API calls. See README.md."""
