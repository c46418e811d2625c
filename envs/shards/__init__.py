"""Environments in worker processes: how worlds are dealt, the memory they share, and the processes themselves."""
