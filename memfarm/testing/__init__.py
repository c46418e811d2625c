"""Conformance suites: subclass one in a test file, return your object, and pytest runs every test of the contract.

class TestMine(EnvContract):
    def make_batched(self, num_envs, **arguments): return my_doors.batched(num_envs, **arguments)
    def make_single(self, **arguments): return my_doors.Single(**arguments)
    def make_parallel(self, **arguments): return my_doors.parallel_env(**arguments)
"""

from memfarm.testing.env_contract import HEADINGS, EnvContract

__all__ = ["HEADINGS", "EnvContract"]
