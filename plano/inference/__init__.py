"""The tier of the task-specific models: three roles, three engines, and ZeroMQ between them and the frontends."""
