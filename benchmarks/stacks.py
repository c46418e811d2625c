"""Stacks as py-spy samples them: which frames say something, and which part of a step a stack belongs to."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["Python", "kernel", "library"]

CROP: Final = "observe"
"""The kernel that cuts the windows."""

ROOM: Final = "room on the disk"
LIBRARIES: Final = {"numpy/": "NumPy", "torch/": "torch", "libtorch": "torch", "libc10.": "torch"}
"""Beginning of a file's name -> the library that it is of; what is of no library or kernel counts with its caller."""

_FRAME: Final = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_KERNEL: Final = re.compile(r"memfarm/kernels.*\.(?:cpp|h)$")
_PLUMBING: Final = re.compile(r"operator\(\)|with_codec|lambda")  # how a kernel is reached, which says nothing
_RESERVES: Final = "memfarm/reserve.py"


@dataclass(frozen=True, slots=True)
class Frame:
    """A function that was running, and what it is of."""

    name: str
    kind: Kind
    file: str = ""


Stack = tuple[Frame, ...]


@dataclass(slots=True)
class Node:
    """A frame with all that was seen below it: samples, and the frames that it called."""

    samples: int = 0
    below: dict[Frame, "Node"] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((node.depth for node in self.below.values()), default=0)


def read(lines: Iterable[str], under: str) -> Iterator[tuple[Stack, int]]:
    """Stacks and how often each was sampled, of py-spy's raw format: what lies below the Python function `under`."""
    for line in lines:
        text, _, count = line.rpartition(" ")
        frames = text.split(";")
        roots = [number for number, frame in enumerate(frames) if frame.startswith(f"{under} (")]
        if roots:
            yield _telling(frames[roots[0] + 1 :]), int(count)


def _telling(frames: Iterable[str]) -> Stack:
    """The frames of Python, of the kernels and of the libraries; one of each in a row, and no library in a kernel."""
    found: list[Frame] = []
    for text in frames:
        frame = _frame(text)
        if frame is None or (found and (found[-1] == frame or (found[-1].kind == "kernel" != frame.kind))):
            continue
        found.append(frame)
    return tuple(found)


def _frame(text: str) -> Frame | None:
    match = _FRAME.match(text)
    if match is None:
        return None
    name, file = match["name"], match["file"]
    library = next((title for start, title in LIBRARIES.items() if file.startswith(start)), None)
    if library is not None:
        return Frame(library, "library")
    if _KERNEL.search(file):
        return None if _PLUMBING.search(name) else Frame(short(name), "kernel")
    return Frame(name, "Python", file) if file.endswith(".py") else None


def short(name: str) -> str:
    """A C++ function's name without namespace, template arguments and parameters: `Reader::value`."""
    while name != (name := re.sub(r"<[^<>]*>|\([^()]*\)", "", name)):
        pass
    return name.replace("memfarm::", "").split(" ")[-1]


def part_of(stack: Stack) -> str:
    """The kernel that was called, by its own name; else the disk that is reserved, a library, or Python."""
    kernel = next((frame for frame in stack if frame.kind == "kernel"), None)
    if kernel is not None:
        return kernel.name.rpartition("::")[2]
    if any(frame.file.endswith(_RESERVES) for frame in stack):
        return ROOM
    return stack[-1].name if stack and stack[-1].kind == "library" else "Python"


def shares(stacks: Iterable[tuple[Stack, int]]) -> dict[str, float]:
    """Part of the step -> its share of all samples, the largest first."""
    found: defaultdict[str, int] = defaultdict(int)
    for stack, count in stacks:
        found[part_of(stack)] += count
    return _ordered(found, sum(found.values()))


def inside(stacks: Iterable[tuple[Stack, int]]) -> dict[str, float]:
    """`kernel / function` -> the share of all samples in that function of the kernel, what it calls included."""
    found: defaultdict[str, int] = defaultdict(int)
    total = 0
    for stack, count in stacks:
        total += count
        names = [frame.name for frame in stack if frame.kind == "kernel"]
        for name in set(names[1:]) - set(names[:1]):
            found[f"{part_of(stack)} / {name}"] += count
    return _ordered(found, total)


def _ordered(found: dict[str, int], total: int) -> dict[str, float]:
    return {name: count / total for name, count in sorted(found.items(), key=lambda item: -item[1])}


def tree(stacks: Iterable[tuple[Stack, int]]) -> Node:
    """All stacks from one root."""
    root = Node()
    for stack, count in stacks:
        node = root
        node.samples += count
        for frame in stack:
            node = node.below.setdefault(frame, Node())
            node.samples += count
    return root
