"""Outlook: what an environment tells of itself beside observations: infos, state and pictures."""

from typing import Any

import numpy as np
from gymnasium import logger
from numpy.typing import NDArray

from memfarm.envs.rules import Flags, Infos, Rules
from memfarm.render import Viewport, render_ansi, render_rgb


class Outlook(Rules):
    """Infos, the whole of a world as one array, and frames."""

    def _infos(self) -> Infos:
        mask = self._masks().view(np.int8)
        return {"action_mask": mask, "_action_mask": np.ones(self.num_envs, np.bool_)}

    def _final(self, over: Flags) -> Infos:
        """Gymnasium's `final_obs` and `final_info` of the agents whose episode is over; call before they begin anew."""
        index = np.flatnonzero(over)
        rows = None if self.on_final is None else self.on_final(index)
        observations = np.full(self.num_envs, None, dtype=object)
        for n, row in zip(index, self._own()[index] if rows is None else rows, strict=True):
            observations[n] = row
        mask = self._masks().view(np.int8)
        mask[~over] = 0
        info = {"action_mask": mask, "_action_mask": over.copy()}
        return {"final_obs": observations, "_final_obs": over.copy(), "final_info": info, "_final_info": over.copy()}

    def state(self, copy: int = 0) -> NDArray[np.float32]:
        """World `copy` as a whole, float32 `(Ph, Pw, C)` in `state_space`: at most 128 x 128 blocks; see `Overview`."""
        self._check_open()
        return self._overview.of(copy, self.agents)

    @property
    def state_channels(self) -> tuple[str, ...]:
        """The names of the channels of `state()`."""
        return self._overview.channels

    def render(self) -> tuple[Any, ...] | None:
        """One frame a world, as `render_mode` says: uint8 `(h, w, 3)` arrays or strings."""
        self._check_open()
        if self.render_mode is None:
            logger.warn("render() was called without a render_mode; make the environment with render_mode='rgb_array'")
            return None
        return tuple(self.frame(copy) for copy in range(self.worlds))

    def frame(self, copy: int = 0, viewport: Viewport | None = None) -> Any:
        """A picture of world `copy`, of the whole or of `viewport` = (y0, y1, x0, x1): a new array, or a string."""
        self._check_open()
        if self.render_mode == "ansi":
            return render_ansi(self.world, self.agents, copy, viewport)
        return render_rgb(self.world, self.agents, copy, viewport)
