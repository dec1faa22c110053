"""Checkpoints in parts, which torch itself reads with an unrestricted pickle."""

import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from tasks.running.checkpoint_parts import INDEX, STATE, load_parts, shapes_of_parts

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones((), dtype=torch.bfloat16)}


class Touch:
    """Creates a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint as several processes write it, in one."""

    def write(**entries):
        path = tmp_path / "last.ckpt"
        optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.95), **entries}]}
        dcp.save(
            {"state_dict": WEIGHTS, "optimizer_0": optimizer}, checkpoint_id=path, no_dist=True
        )
        torch.save({"global_step": 3}, path / STATE)
        return path

    return write


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_what_was_written(folder):
    path = folder()
    assert shapes_of_parts(path) == {"a": (2, 3), "b": ()}
    saved = load_parts(path)
    torch.testing.assert_close(saved["state_dict"], WEIGHTS)
    assert saved["optimizer_states"][0]["param_groups"] == [{"lr": 0.1, "betas": (0.9, 0.95)}]
    assert saved["global_step"] == 3


@pytest.mark.filterwarnings("ignore:torch.distributed is")
@pytest.mark.parametrize("read", [shapes_of_parts, load_parts])
@pytest.mark.parametrize("place", ["index", "module", "entry"])
def test_reading_runs_no_code(folder, tmp_path, monkeypatch, place, read):
    touched = tmp_path / "touched"
    (tmp_path / "unknown_part.py").write_text(f"open({str(touched)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = folder(**({"evil": Touch(touched)} if place == "entry" else {}))
    if place == "index":
        (path / INDEX).write_bytes(pickle.dumps(Touch(touched)))
    if place == "module":
        (path / INDEX).write_bytes(b"cunknown_part\nPart\n.")
    with pytest.raises(pickle.UnpicklingError):
        read(path)
    assert not touched.exists()
