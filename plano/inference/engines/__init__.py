"""What does the work of a role: vLLM, the embedded models, or a configured model provider."""
