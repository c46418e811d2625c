"""Environments: worlds with rules, each one file, and their doors."""

from memfarm.envs.sharded import ShardedVectorEnv

__all__ = ["ShardedVectorEnv"]
