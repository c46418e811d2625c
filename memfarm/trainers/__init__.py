"""Doors to the trainers that people use: one module a trainer, each imported only by who has that trainer installed."""
