"""Octile maps: the benchmark's format, and every way in which a file can break it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memfarm.errors import TerrainError
from memfarm.octile import LETTERS, read_octile
from memfarm.terrain import from_octile, load

pytestmark = pytest.mark.once

ARENA = Path(__file__).parent / "data" / "arena.map"


def written(folder: Path, content: bytes) -> Path:
    path = folder / "made.map"
    path.write_bytes(content)
    return path


def test_reads_the_letters_of_a_map():
    letters = read_octile(ARENA)
    assert letters.shape == (6, 9)
    assert letters.dtype == np.uint8
    assert bytes(letters[1]) == b"@..GG..T@"


@settings(deadline=None, max_examples=40)
@given(data=st.data(), ending=st.sampled_from([b"\n", b"\r\n"]), last=st.booleans(), swapped=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, data, ending, last, swapped):
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    rows = [bytes(data.draw(st.lists(st.sampled_from(LETTERS), min_size=width, max_size=width))) for _ in range(height)]
    sizes = [b"height %d" % height, b"width %d" % width]
    lines = [b"type octile", *(reversed(sizes) if swapped else sizes), b"map", *rows]
    path = written(tmp_path_factory.getbasetemp(), ending.join(lines) + (ending if last else b""))
    assert [bytes(row) for row in read_octile(path)] == rows


HEADER = b"type octile\nheight 2\nwidth 3\nmap\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: an octile map begins"),
        (b"type tile\nheight 2\nwidth 3\nmap\n...\n...\n", "line 1: an octile map begins"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "line 1: an octile map begins"),
        (b"type octile\nheight two\nwidth 3\nmap\n", "line 2: "),
        (b"type octile\nheight 0\nwidth 3\nmap\n", "line 2: "),
        (b"type octile\nheight -2\nwidth 3\nmap\n", "line 2: "),
        (b"type octile\nheight 2\nheight 3\nmap\n", "line 3: "),
        (b"type octile\nheight 2\nwidth 3\n...\n...\n", "line 4: the header ends with 'map'"),
        (b"type octile\nheight 900000\nwidth 900000\nmap\n...\n", "needs 810000899999 bytes after its header, got 4"),
        (b"type octile\nheight 99999999999\nwidth 3\nmap\n...\n", "line 2: "),
        (HEADER + b"...\n..", "needs 7 bytes"),
        (HEADER + b"..\n....\n", "line 5: a row of this map has 3 letters, got 2"),
        (HEADER + b"...\n....\n", "line 6: a row of this map has 3 letters, got more"),
        (HEADER + b"...\n.x.\n", "line 6, column 2: .* got 'x'"),
        (HEADER + b"...\n..\xff\n", "line 6, column 3"),
        (HEADER + b"...\n...\n...\n", "line 7: a map of height 2 ends here"),
    ],
)
def test_a_malformed_map_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(TerrainError, match=message):
        read_octile(written(tmp_path, content))


def test_blank_lines_after_the_map_are_no_matter(tmp_path):
    assert read_octile(written(tmp_path, HEADER + b"...\n...\n\n\n")).shape == (2, 3)


@pytest.mark.parametrize("make", [lambda folder: folder / "absent.map", lambda folder: folder])
def test_what_cannot_be_read_is_refused(tmp_path, make):
    with pytest.raises(TerrainError, match="must be a file that can be read"):
        read_octile(make(tmp_path))


def test_letters_become_ground():
    terrain = from_octile(ARENA, swamp_cost=0.25)
    letters = read_octile(ARENA)
    walkable = np.isin(letters, list(b".GS"))
    np.testing.assert_array_equal(terrain.obstacles, ~walkable)
    np.testing.assert_array_equal(terrain.terrain_cost[letters == ord("S")], 0.25)
    np.testing.assert_array_equal(terrain.terrain_cost[letters == ord("G")], 0.0)
    np.testing.assert_array_equal(terrain.terrain_cost[~walkable], 1.0)
    assert (terrain.capacity[~walkable] == 0).all()
    assert terrain.capacity[walkable].max() == 1.0


def test_load_takes_a_map_by_its_suffix():
    made, loaded = from_octile(ARENA, seed=3), load(str(ARENA), seed=3)
    for name, layer in made.layers().items():
        np.testing.assert_array_equal(layer, loaded.layers()[name])


def test_a_map_without_ground_is_refused(tmp_path):
    with pytest.raises(TerrainError, match="walkable"):
        from_octile(written(tmp_path, HEADER + b"@@T\nWWO\n"))
