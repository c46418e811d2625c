"""Who gets what: whole worlds dealt to shards, and shards to the two halves of double buffering."""

from dataclasses import dataclass
from typing import Final

from memfarm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Share:
    """What one shard holds of the batch: its run of worlds, and their agents."""

    shard: int
    first_world: int
    worlds: int
    first: int  # agent
    count: int  # agents

    @property
    def rows(self) -> slice:
        """Its agents, as a slice of the batch."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True)
class Group:
    """Shards that are stepped in one call: all of them, or a half; their agents are one run of the batch."""

    name: str
    shares: tuple[Share, ...]

    @property
    def rows(self) -> slice:
        """Their agents, as a slice of the batch."""
        last = self.shares[-1]
        return slice(self.shares[0].first, last.first + last.count)

    @property
    def count(self) -> int:
        """How many agents they hold."""
        return sum(share.count for share in self.shares)


class Deal:
    """Runs of whole worlds for each shard, whose sizes differ by one world at most.

    whole: the group of all shards. halves: the first and the second half of the shards; none where there is one shard.
    """

    def __init__(self, num_envs: int, agents_per_world: int, shards: int) -> None:
        if num_envs % agents_per_world:
            raise ConfigError(f"num_envs must be a multiple of agents_per_world={agents_per_world}, got {num_envs}")
        worlds = num_envs // agents_per_world
        if shards > worlds:
            raise ConfigError(
                f"a shard holds one world or more, got {shards} shards for {worlds} worlds "
                f"(of {agents_per_world} agents); use shards={worlds} or more worlds"
            )
        each, more = divmod(worlds, shards)
        shares, first = [], 0
        for shard in range(shards):
            mine = each + (shard < more)
            shares.append(Share(shard, first, mine, first * agents_per_world, mine * agents_per_world))
            first += mine
        self.shares: Final = tuple(shares)
        self.whole: Final = Group("all shards", self.shares)
        middle = shards // 2
        parts = (self.shares[:middle], self.shares[middle:]) if middle else ()
        self.halves: Final = tuple(Group(f"half {half}", part) for half, part in enumerate(parts))
