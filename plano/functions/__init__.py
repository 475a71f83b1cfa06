"""Prompt targets: tasks that prompts are turned into. Which tool each is, how its endpoint is called, and what of it a
model and the client get to see."""
