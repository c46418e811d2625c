"""The meadow: a small, easy Forage on which every trainer's example learns within a minute on a laptop.

Food is everywhere and grows back, but living is dear: who acts at random starves within a dozen steps, who eats where
it stands and moves on lives to the end. So a life's return starts near -1 and ends well above 0.
"""

from typing import Any, Final

MEADOW: Final[dict[str, Any]] = {
    "shape": (24, 24),
    "radius": 2,
    "channels": ("SELF_HP", "RESOURCES", "OBSTACLES"),
    "max_cycles": 32,
    "start_energy": 0.3,
    "metabolism": 0.05,
    "terrain_weight": 0.0,
    "food_energy": 1.2,
}
"""Arguments for any door of `memfarm/Forage-v0`."""
