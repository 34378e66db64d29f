import sys
from pathlib import Path

import numpy as np
import pytest

from data.arrays import UnusableArrayError, let_go, open_array


def resident():
    """Megabytes of files that this process has mapped and read."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile"))
    return int(line.split()[1]) / 1e3


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is resident")
def test_what_was_read_of_a_mapped_array_can_be_let_go(tmp_path):
    path, empty = tmp_path / "many.npy", tmp_path / "none.npy"
    np.save(path, np.arange(4_000_000, dtype=np.uint64))
    np.save(empty, np.empty(0, np.uint64))
    array = open_array(path, np.uint64)
    before = resident()
    total = int(array.sum())
    assert resident() > before + 25
    let_go([array, open_array(empty, np.uint64)])
    assert resident() < before + 5
    assert int(array.sum()) == total == sum(range(4_000_000))


def test_another_array_is_refused_with_what_belongs_there(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((2, 3), np.uint8))
    assert open_array(path, np.uint8, 3).shape == (2, 3)
    with pytest.raises(
        UnusableArrayError, match=r"rows\.npy holds uint8 of shape \(2, 3\), but uint8 of shape \(n, 4\)"
    ):
        open_array(path, np.uint8, 4)
    with pytest.raises(UnusableArrayError, match=r"but uint64 of shape \(n\) belongs"):
        open_array(path, np.uint64)
