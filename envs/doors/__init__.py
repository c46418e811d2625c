"""Doors: how a GridEnv is handed out, to Gymnasium (one agent, or a batch) and to PettingZoo."""
