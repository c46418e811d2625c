import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memfarm import cli
from memfarm.commands import bench
from memfarm.demo import run
from memfarm.errors import ConfigError
from memfarm.examples import ppo
from memfarm.sizes import in_words
from memfarm.world import World

Capture = pytest.CaptureFixture[str]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def memfarm(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Command:
    """Run the command line; its exit status, stdout and stderr."""

    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # the demo would set it

    def run_it(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memfarm", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run_it


@pytest.fixture
def heights(tmp_path: Path) -> Path:
    """An elevation of 40 x 50 cells: a hill in a plain."""
    y, x = np.mgrid[0:40, 0:50]
    path = tmp_path / "hill.npy"
    np.save(path, (30 * np.exp(-((y - 20) ** 2 + (x - 25) ** 2) / 60.0)).astype(np.float32))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_build_makes_a_world_and_info_tells_what_it_holds(memfarm: Command, heights: Path, tmp_path: Path) -> None:
    status, out, _ = memfarm("build", heights, tmp_path / "worlds" / "hill", "--seed", 3, "--cell-size", 10)
    assert status == 0
    assert "40 x 50 cells" in out
    status, out, _ = memfarm("info", tmp_path / "worlds" / "hill", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["shape"] == [40, 50]
    assert (found["copies"], found["tick"], found["seed"], found["boundary"]) == (1, 0, 3, "wall")
    assert set(found["grids"]) == {"resources", "environmental", "temporal"}
    assert found["grids"]["environmental"]["written_share"] == 1.0
    assert found["grids"]["resources"]["written_share"] == 0.0
    on_disk = sum(512 * path.stat().st_blocks for path in (tmp_path / "worlds" / "hill").iterdir())
    assert 0 < found["disk_bytes"] <= on_disk
    status, out, _ = memfarm("info", tmp_path / "worlds" / "hill")
    assert status == 0
    for piece in ("40 x 50 cells", "RESOURCES", "Regrow(rate=0.01, capacity=CAPACITY)", "Decay(gamma=0.9,", "100.0%"):
        assert piece in out
    assert in_words(found["disk_bytes"]) in out


def test_info_of_a_world_that_has_been_lived_in(memfarm: Command, tmp_path: Path) -> None:
    world = World((300, 300), copies=2, path=tmp_path / "world")
    world.scatter("TRAILS", [1], [5], [5], [1.0])
    world.advance(7)
    world.close()
    before = files_of(tmp_path / "world")
    found = json.loads(memfarm("info", tmp_path / "world", "--json")[1])
    assert (found["tick"], found["copies"]) == (7, 2)
    assert found["grids"]["temporal"]["live"] == 1
    assert found["disk_bytes"] < found["logical_bytes"]
    assert files_of(tmp_path / "world") == before


def test_build_takes_noise_and_a_shape(memfarm: Command, heights: Path, tmp_path: Path) -> None:
    assert memfarm("build", "noise", tmp_path / "n", "--shape", 33, 65, "--boundary", "wrap")[0] == 0
    assert memfarm("build", heights, tmp_path / "h", "--shape", 20, 25)[0] == 0
    for name, shape, boundary in (("n", (33, 65), "wrap"), ("h", (20, 25), "wall")):
        world = World.open(tmp_path / name)
        assert (world.shape, world.boundary) == (shape, boundary)
        assert 0.0 < world.grid_of("OBSTACLES").read("OBSTACLES", 0, shape[0], 0, shape[1]).mean() < 1.0 or name == "h"
        world.close()


def test_build_replaces_a_world_by_force_only_and_nothing_but_a_world(
    memfarm: Command, heights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "world"
    assert memfarm("build", heights, folder)[0] == 0
    before = files_of(folder)
    status, out, err = memfarm("build", "noise", folder)
    assert (status, out) == (2, "")
    assert "--force" in err
    assert memfarm("build", tmp_path / "missing.npy", folder, "--force")[0] == 2
    assert files_of(folder) == before
    assert memfarm("build", "noise", folder, "--force")[0] == 0
    assert json.loads(memfarm("info", folder, "--json")[1])["shape"] == [64, 64]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    assert memfarm("build", "noise", tmp_path / "mine", "--force")[0] == 2
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    assert {path.name for path in tmp_path.iterdir() if path.name != "temp"} == {"hill.npy", "mine", "world"}


@pytest.mark.parametrize(
    ("arguments", "say"),
    [
        (("info", "nowhere"), "world.json"),
        (("build", "nowhere.npy", "new"), "nowhere.npy"),
        (("build", "notes[1].txt", "new"), "notes[1].txt"),
        (("build", "noise", "new", "--shape", -3, 5), "shape"),
        (("build", "noise", "new", "--food-share", "nan"), "food_share"),
        (("demo", "--agents", 10, "--worlds", 3), "multiple of worlds=3"),
        (("demo", "--seconds", 0), "seconds"),
        (("demo", "--device", "moon"), "device"),
        (("demo", "--map", "nowhere.npy", "--seconds", 1), "nowhere.npy"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_status_2(
    memfarm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], say: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = memfarm(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("memfarm: ")
    assert err.count("\n") == 1
    assert say in err
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("*.part*"))


def test_what_is_no_command_is_told_so(memfarm: Command) -> None:
    assert memfarm("bild", "x", "y")[0] == 2
    assert memfarm("info")[0] == 2
    status, out, _ = memfarm("--help")
    assert status == 0
    assert all(name in out for name in ("demo", "build", "info", "bench"))


def test_the_benchmarks_need_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clone the repository"):
        bench.checkout(tmp_path / "site-packages" / "memfarm")
    for folder in ("memfarm", "benchmarks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert bench.checkout(tmp_path / "memfarm") == tmp_path.resolve()


def test_no_command_but_the_demo_loads_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from memfarm.cli import main\n"
        f"sys.argv = ['memfarm', 'build', 'noise', {str(tmp_path / 'w')!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (3 << 20, "3 MiB"), (int(2.345e9), "2.18 GiB")]
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


def test_the_demo_leaves_a_world_a_curve_a_film_and_a_report(
    memfarm: Command, heights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TICKS", 12), ("SEEDS", 2)):
        monkeypatch.setattr(run, name, value)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # small tensors on two threads wait for each other
    monkeypatch.setattr(run, "FILM", {"start": 2, "ticks": 3, "side": 16})
    out = tmp_path / "demo"
    arguments = ("demo", "--map", heights, "--agents", 16, "--worlds", 2, "--seconds", 0.01, "--out", out)
    for _ in range(2):  # the second time replaces what the first one left
        status, said, err = memfarm(*arguments)
        assert (status, err) == (0, "")
    assert "report.md" in said
    assert {path.name for path in out.iterdir()} == {"world", "learning_curve.png", "forage.gif", "report.md"}
    found = json.loads(memfarm("info", out / "world", "--json")[1])
    assert (found["shape"], found["copies"], found["path"]) == ([40, 50], 2, str(out / "world"))
    assert found["tick"] > 0
    with Image.open(out / "forage.gif") as film:
        assert film.n_frames == 3
    with Image.open(out / "learning_curve.png") as curve:
        assert curve.width > 600
    report = (out / "report.md").read_text()
    for piece in ("| trained |", "| greedy |", "| random |", "±", "agent-steps/s", "| policy |", "| update |"):
        assert piece in report
    for piece in ("logical", "real size on disk", "RssAnon", "RssFile", "hill.npy", "40 x 50"):
        assert piece in report


def test_the_demo_replaces_nothing_but_a_world(memfarm: Command, heights: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "world").mkdir(parents=True)
    status, _, err = memfarm("demo", "--map", heights, "--out", tmp_path / "out", "--agents", 4, "--worlds", 1)
    assert status == 2
    assert "world.json" in err


def test_the_example_trains_logs_saves_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    arguments = ["--agents", "8", "--worlds", "2", "--shape", "24", "24", "--threads", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["ppo.py", *arguments, "--agent-steps", "500"])
    ppo.main()
    steps = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["agent_steps"]
    assert 500 <= steps < 1000
    resume = ["--agent-steps", "1000", "--resume", str(tmp_path / "checkpoint.pt")]
    monkeypatch.setattr(sys, "argv", ["ppo.py", *arguments, *resume])
    ppo.main()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["agent_steps"] > steps
    assert list(tmp_path.glob("events.out.tfevents.*"))
    assert "agent-steps" in capsys.readouterr().out
