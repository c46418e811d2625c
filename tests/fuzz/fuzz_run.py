"""Mutated inputs for the parsers, in a process of bounded memory and time: `fuzz_run.py FOLDER COUNT SEED PARSER...`.

Every input must parse, or be refused with a MemfarmError: no other exception, no warning, no more than 64 MiB of new
address space, no more than 5 seconds. Prints a line a parser. A process that dies (a crash in compiled code) leaves the
number of its input in FOLDER/progress.
"""

import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from fuzz_parsers import PARSERS, Parser

from memfarm.errors import MemfarmError

ROOM = 64 << 20
SECONDS = 5.0
CORPUS = Path(__file__).parents[1] / "corpus"
LONGEST_MESSAGE = 20_000


class TooLongError(BaseException):
    """The input took more than its time; no parser catches this."""


def _too_long(signum: int, frame: object) -> NoReturn:
    raise TooLongError


def causes(error: BaseException) -> Iterable[BaseException]:
    """An error and all that it came from, also what `from None` hides."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__]
    return seen


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was short, also where GDAL said so, or the system to mmap."""
    found = [f"{type(one).__name__}: {one}".lower() for one in causes(error)]
    return any(sign in text for text in found for sign in _NO_MEMORY)


_NO_MEMORY = ("memoryerror", "outofmemory", "out of memory", "allocate")


def verdict(read: Callable[[], object]) -> str:
    """ "parsed", "refused", or what went wrong."""
    try:
        bounded(ROOM)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            read()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            unbounded()
    except MemfarmError as error:
        if out_of_memory(error):
            return f"more than {ROOM >> 20} MiB: {error}"
        return "refused" if len(str(error)) <= LONGEST_MESSAGE else f"a message of {len(str(error))} characters"
    except TooLongError:
        return f"longer than {SECONDS} s\n{traceback.format_exc(limit=-6)}"
    except BaseException:  # noqa: BLE001 - whatever it is, it is what we look for
        return traceback.format_exc(limit=-6)
    return "parsed"


def bounded(extra: int) -> None:
    """Let this process have `extra` bytes of address space more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))


def unbounded() -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def kept(name: str) -> list[bytes]:
    """The corpus of a parser: inputs that found something once."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def made(parser: Parser, name: str, pool: list[bytes], seed: int, index: int) -> bytes:
    """Input number `index` of a run: the same in every process."""
    return parser.mutate(random.Random(f"{name}/{seed}/{index}"), pool)


def fuzz(name: str, folder: Path, count: int, seed: int) -> int:
    """Replay the corpus, then `count` mutated inputs; the number of those that went wrong."""
    parser = PARSERS[name]
    place = folder / name
    place.mkdir()
    seeds = parser.seeds()
    pool = [*seeds, *kept(name)]
    counts = {"parsed": 0, "refused": 0}
    wrong: dict[str, int] = {}
    for data in seeds:  # everything is imported, and buffers have their size
        if (got := verdict(lambda data=data: parser.read(place, data))) != "parsed":
            wrong[f"a valid input: {got}"] = -1
    progress = os.open(folder / "progress", os.O_RDWR | os.O_CREAT, 0o600)
    start = time.perf_counter()
    for index in range(-len(pool), count):
        os.pwrite(progress, f"{name} {seed} {index}".ljust(64).encode(), 0)
        data = pool[index] if index < 0 else made(parser, name, pool, seed, index)
        got = verdict(lambda data=data: parser.read(place, data))
        if got in counts:
            counts[got] += 1
        elif wrong.setdefault(got, index) == index:
            (folder / f"{name}-{index}").write_bytes(data)
    os.close(progress)
    seconds = time.perf_counter() - start
    done = sum(counts.values()) + len(wrong)
    told = f"{counts['parsed']:7} parsed  {counts['refused']:7} refused  {len(wrong):3} wrong"
    _say(f"{name:12} {done:8} inputs  {told}  {seconds:6.1f} s")
    for what, index in wrong.items():
        _say(f"--- {name} seed {seed} input {index}\n{what}")
    return len(wrong)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    folder, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("error")
    signal.signal(signal.SIGPROF, _too_long)
    return min(sum(fuzz(name, folder, count, seed) for name in sys.argv[4:] or PARSERS), 100)


if __name__ == "__main__":
    sys.exit(main())
