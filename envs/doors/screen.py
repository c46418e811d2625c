"""A window on the screen, for render_mode="human"; pygame is loaded when the first frame is shown."""

from importlib.util import find_spec
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from memfarm.errors import ConfigError


class Screen:
    """Shows frames in a window at `fps` frames a second at most."""

    MODES: ClassVar[tuple[str, ...]] = ("human",) if find_spec("pygame") else ()
    """The render modes that this installation can show."""

    def __init__(self, title: str, fps: int) -> None:
        self._title: Final = title
        self._fps: Final = fps
        self._pygame: Any = None

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a frame, uint8 `(h, w, 3)`. Raises ConfigError where pygame is not installed."""
        if not self.MODES:
            raise ConfigError("render_mode='human' needs pygame, which is not installed; pip install 'memfarm[render]'")
        import pygame  # an extra, and slow to load

        if self._pygame is None:
            self._pygame = pygame
            pygame.display.init()
            pygame.display.set_caption(self._title)
            self._clock = pygame.time.Clock()
        window = pygame.display.get_surface()
        if window is None or window.get_size() != frame.shape[1::-1]:
            window = pygame.display.set_mode(frame.shape[1::-1])
        pygame.event.pump()
        window.blit(pygame.surfarray.make_surface(frame.swapaxes(0, 1)), (0, 0))
        pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._pygame is not None:
            self._pygame.display.quit()
            self._pygame = None
