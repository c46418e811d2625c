"""The whole contract of an environment."""

from typing import Final

from memfarm.testing.determinism import Determinism
from memfarm.testing.episodes import Episodes
from memfarm.testing.saving import Saving

HEADINGS: Final = (
    "Description",
    "Actions",
    "Observation",
    "Reward",
    "Starting state",
    "Episode end",
    "Arguments",
    "Version history",
)
"""The sections of an environment's docstring, in this order."""


class EnvContract(Determinism, Episodes, Saving):
    """What every environment and its doors promise. The three makers are given the doors' keyword arguments."""

    def test_the_docstring_is_the_environments_page(self) -> None:
        env = self.make_batched(1)
        page = type(env.unwrapped).__doc__ or ""
        found = [line.strip().removeprefix("## ") for line in page.splitlines() if line.strip().startswith("## ")]
        assert tuple(found) == HEADINGS, f"the docstring's headings must be {HEADINGS}, got {found}"
        env.close()
