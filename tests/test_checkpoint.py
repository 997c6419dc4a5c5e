"""Checkpoints: whole or not at all, verified, the last two kept; a killed fit goes on from one."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fit_toys import toy_scene, toy_settings, write_toy
from tidr.errors import FileError
from tidr.files import write as writing
from tidr.fitting import checkpoint
from tidr.fitting.checkpoint import Checkpoint
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import FitError, Watcher


def made(step: int, **arrays) -> Checkpoint:
    values = {"parameter/ball.vertices": np.arange(12.0).reshape(4, 3) + step, "losses": np.zeros((step, 4))}
    return Checkpoint(step, "abc", {"columns": ["step", "loss"]}, values | arrays)


def test_what_is_saved_is_read_again(tmp_path):
    saved = made(7, **{"optimizer/0/steps": np.array(7)})
    checkpoint.save(tmp_path, saved)
    again = checkpoint.load(tmp_path)
    assert again is not None
    assert (again.step, again.scene_hash, again.facts) == (7, "abc", {"columns": ["step", "loss"]})
    assert again.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        assert np.array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == array.dtype


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 10, 2, 30):
        checkpoint.save(tmp_path, made(step))
    assert [path.name for path in checkpoint.saved(tmp_path)] == ["checkpoint-0000030.npz", "checkpoint-0000010.npz"]


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load(tmp_path) is None


@pytest.mark.parametrize("harm", ["empty", "half", "flipped", "noise", "version"])
def test_a_broken_checkpoint_gives_way_to_the_one_before(tmp_path, harm):
    checkpoint.save(tmp_path, made(1))
    path = checkpoint.save(tmp_path, made(2))
    data = bytearray(path.read_bytes())
    if harm == "empty":
        data = bytearray()
    elif harm == "half":
        data = data[: len(data) // 2]
    elif harm == "flipped":
        place = bytes(data).index(np.arange(12.0)[5:6].tobytes())
        data[place + 2] ^= 0x40
    elif harm == "noise":
        data = bytearray(np.random.default_rng(0).bytes(4096))
    if harm == "version":
        with np.load(path) as arrays:
            changed = dict(arrays) | {"format": np.array(99)}
        np.savez(path, **changed)
    else:
        path.write_bytes(data)
    said: list[str] = []
    found = checkpoint.load(tmp_path, said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert str(path) in said[0]


def test_only_broken_checkpoints_are_an_error(tmp_path):
    checkpoint.save(tmp_path, made(1)).write_bytes(b"PK\3\4")
    with pytest.raises(FileError, match="no checkpoint that is whole"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_rest(tmp_path, monkeypatch, failing):
    checkpoint.save(tmp_path, made(1))

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((np, "savez") if failing == "write" else (writing.os, "replace")), full)
    with pytest.raises(FileError, match="No space left"):
        checkpoint.save(tmp_path, made(2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-0000001.npz"]
    assert checkpoint.load(tmp_path).step == 1


def test_a_folder_removed_during_the_fit_ends_it_with_a_message(f32, tmp_path):
    class Remover(Watcher):
        def step(self, step: int, loss: float, psnr: float | None) -> None:
            if step == 3:
                (tmp_path / "run").rename(tmp_path / "gone")

    settings = toy_settings(tmp_path, save_every=2)
    with pytest.raises(FitError, match="cannot be written"):
        fit_from_settings(toy_scene(), settings, tmp_path / "run", watcher=Remover())
    assert checkpoint.load(tmp_path / "gone").step == 2


def test_what_a_killed_writer_left_is_swept(f32, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".checkpoint-0000001-abc.npz").write_bytes(b"half")
    fit_from_settings(toy_scene(), toy_settings(tmp_path, steps=1), run)
    assert not list(run.glob(".checkpoint-*"))


def test_kill_at_random_moments_loses_one_interval_at_most(tmp_path):
    scene = write_toy(tmp_path, steps=4000)
    random = np.random.default_rng(0)
    reached = 0
    for _ in range(2):
        reached = kill_once(scene, tmp_path / "run", reached, float(random.uniform(0.1, 1.5)))
    assert reached > 0


def kill_once(scene: Path, run: Path, reached: int, seconds: float) -> int:
    """Resume the fit, kill it `seconds` after its first new step; returns the step that can be resumed from."""
    command = [sys.executable, "-m", "tidr.cli", "fit", str(scene), "-o", str(run), "--resume"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 120
        while last_step(run) < reached and time.monotonic() < end:
            assert child.poll() is None, child.stderr.read().decode()
            time.sleep(0.02)
        time.sleep(seconds)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stderr.close()
    done, saved = last_step(run), checkpoint.load(run)
    assert saved is not None
    assert saved.step > done - 10
    assert saved.step >= reached
    return saved.step


def last_step(run: Path) -> int:
    """Number of the last whole line of loss.csv, -1 where there is none."""
    try:
        lines = (run / "loss.csv").read_text().split("\n")[1:-1]
    except OSError:
        return -1
    return int(lines[-1].partition(",")[0]) if lines else -1
