"""How a crew comes to its environments: dealt, built in the workers, compared, and joined over the shared memory."""

from collections.abc import Sequence

from memfarm.envs.shards import line as talk
from memfarm.envs.shards.crew import Crew
from memfarm.envs.shards.dealing import Deal
from memfarm.envs.shards.layout import Board, Part
from memfarm.envs.shards.memory import reserve, whole
from memfarm.envs.shards.worker import Facts, Plan
from memfarm.errors import ConfigError


def build(
    crew: Crew, make_env: bytes, num_envs: int, agents_per_world: int | None, cores: Sequence[int | None]
) -> tuple[Deal, list[Facts]]:
    """Have every worker build its shard: who got what, and what each one's environment is.

    cores: the processor of each shard, None for any. Raises ConfigError, WorkerError.
    """
    if agents_per_world is None:
        crew.tell(0, talk.CALL, ("ask", (make_env, num_envs), {}))
        (agents_per_world,) = crew.collect([0])
    deal = Deal(num_envs, agents_per_world, len(cores))
    for share, core in zip(deal.shares, cores, strict=True):
        crew.tell(share.shard, talk.CALL, ("build", (make_env, share.count, core), {}))
    facts: list[Facts] = crew.collect(range(len(cores)))
    for shard, fact in enumerate(facts):
        if fact.agents_per_world != agents_per_world:
            raise ConfigError(
                f"agents_per_world must be what make_env builds, got {agents_per_world} "
                f"and worlds of {fact.agents_per_world} in shard {shard}"
            )
        if (fact.observation, fact.action) != (facts[0].observation, facts[0].action):
            raise ConfigError(f"make_env must build the same spaces for all shards, got others in shard {shard}")
    return deal, facts


def join(crew: Crew, deal: Deal, actions: int, parts: tuple[Part, ...]) -> Board:
    """Lay out the shared memory, and have the workers find their places in it: the board."""
    agents, shards = deal.whole.count, len(deal.shares)
    size = Board.size(agents, shards, actions)
    reserve(crew.board_fd, 0, size)
    board = Board.on(whole(crew.board_fd, size), agents, shards, actions)
    for share in deal.shares:
        crew.tell(share.shard, talk.CALL, ("join", (Plan(share, agents, shards, actions, parts),), {}))
    crew.collect(range(shards))
    return board
