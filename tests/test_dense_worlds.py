"""Worlds that are made full of agents: their scratch is reserved at once."""

import os
import tempfile
from contextlib import closing
from typing import Any

import pytest

from memfarm import files, large_pages
from memfarm.errors import ConfigError
from memfarm.world import World

pytestmark = pytest.mark.once


@pytest.mark.parametrize(("agents", "full"), [(0, False), (255, False), (256, True)])
def test_a_world_full_of_agents_takes_its_disk_at_once(agents: int, full: bool) -> None:
    with tempfile.TemporaryFile(dir=files.scratch_folder()) as file:
        if not large_pages.of_file(file.fileno()):
            pytest.skip("scratch lies where files have no large pages")
    with closing(World((512, 1024), agents=agents)) as world:
        fields = world.temporal.grid
        taken = 512 * os.fstat(fields._segments.places[fields.name].fd).st_blocks
        assert taken >= 512 * 1024 * 16 if full else taken < 1 << 16
        with closing(world.fork()) as fork:
            same = fork.temporal.grid
            assert (512 * os.fstat(same._segments.places[same.name].fd).st_blocks > 1 << 20) == full


@pytest.mark.parametrize("agents", [-1, 2.0, "many", True])
def test_agents_are_a_number(agents: Any) -> None:
    with pytest.raises(ConfigError, match="agents must be an int of 0 or more"):
        World((8, 8), agents=agents)
