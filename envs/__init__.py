"""Environments: worlds with rules, each one file, and their doors."""
