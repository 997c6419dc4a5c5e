"""Fits by several processes: the same result, whoever dies; an end by Ctrl-C leaves nobody behind. Needs Dask."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.errors import FileError
from tidr.files.scene_file import load_scene
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import FitError, Watcher
from tidr.fitting.step import CrewError, Share, part_of
from tidr.fitting.workers import Job, _work

from .fit_toys import write_toy

dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="the extra is not installed")
LONG = 900  # seconds that a child may take on a busy machine

KILL = """
import os, signal, sys
import numpy as np
import tidr
from tidr.files.scene_file import load_scene
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import Watcher
from tidr.fitting.workers import Workers

class Killer(Watcher):
    def step(self, step, loss, psnr):
        if step == 3:
            os.kill(min(crew.client.run(os.getpid).values()), signal.SIGKILL)

if __name__ == "__main__":
    tidr.init("cpu", threads=int(sys.argv[3]))
    scene = load_scene(sys.argv[1])
    with Workers(sys.argv[1], count=2) as crew:
        threads = list(crew.client.nthreads().values())
        result = fit_from_settings(scene, steps=6, watcher=Killer(), crew=crew)
    np.savez(sys.argv[2], losses=result.losses[:, :-1], threads=threads,
             **{path: item.numpy() for path, item in scene.parameters("ball.vertices", "paint.albedo").items()})
"""

LOST = """
import sys
import tidr
from distributed import LocalCluster
from tidr.files.scene_file import load_scene
from tidr.fitting import workers
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import FitError, Watcher

class Closer(Watcher):
    def step(self, step, loss, psnr):
        if step == 2:
            cluster.scale(0)
            cluster.sync(cluster._correct_state)

if __name__ == "__main__":
    tidr.init("cpu")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster:
        with workers.Workers(sys.argv[1], scheduler=cluster.scheduler_address) as crew:
            workers.MISSED = 3.0
            try:
                fit_from_settings(load_scene(sys.argv[1]), output=sys.argv[2], watcher=Closer(), crew=crew)
            except FitError as error:
                print(error)
"""


class Alone:
    """A crew of this process: two shares, one after the other."""

    def parts(self, plan, step, at):
        return [part_of(plan, step, at, Share(number, 2)) for number in range(2)]


def child(folder: Path, text: str, *arguments) -> str:
    """What a script prints."""
    script = folder / "child.py"
    script.write_text(text)
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dask
def test_a_killed_worker_changes_nothing_and_two_are_as_one(f32, tmp_path):
    scene, threads = write_toy(tmp_path), max(len(os.sched_getaffinity(0)) // 2, 1)
    assert child(tmp_path, KILL, scene, tmp_path / "found.npz", threads).splitlines()[1:] == []  # after Taichi's banner
    found = np.load(tmp_path / "found.npz")
    assert list(found["threads"]) == [threads] * 2
    command = "import sys, tests.test_workers as t; t.alone(*sys.argv[1:])"
    for kind in ("shares", "whole"):
        arguments = [sys.executable, "-c", command, str(scene), str(tmp_path / kind), kind, str(threads)]
        subprocess.run(arguments, check=True, timeout=LONG, cwd=Path(__file__).parent.parent)
        expected = np.load(tmp_path / f"{kind}.npz")
        for name, value in expected.items():
            if kind == "shares":  # to the last bit: what was lost was done again the same
                assert np.array_equal(found[name], value), name
            else:
                np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def alone(scene: str, output: str, kind: str, threads: str) -> None:
    """In a child: the fit of `KILL` by one process."""
    import tidr

    tidr.init("cpu", threads=int(threads))
    loaded = load_scene(scene)
    result = fit_from_settings(loaded, steps=6, crew=Alone() if kind == "shares" else None)
    values = {path: item.numpy() for path, item in loaded.parameters("ball.vertices", "paint.albedo").items()}
    np.savez(output, losses=result.losses[:, :-1], **values)


@dask
def test_a_cluster_without_workers_ends_the_fit_after_a_save(f32, tmp_path):
    said = child(tmp_path, LOST, write_toy(tmp_path), tmp_path / "run")
    assert "all are lost" in said
    assert "the state is saved" in said
    assert list((tmp_path / "run").glob("checkpoint-*.npz"))


@dask
def test_ctrl_c_saves_and_leaves_no_process(f32, tmp_path):
    command = [sys.executable, "-m", "tidr.cli", "fit", str(write_toy(tmp_path, steps=10**6)), "--workers", "2"]
    command += ["-o", str(tmp_path / "run"), "--set", "fit.save_every=1"]
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
    try:
        until(lambda: any((tmp_path / "run").glob("checkpoint-000000[3-9].npz")), process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        assert process.wait(LONG) == 130, (tmp_path / "err").read_text()
        until(lambda: not group_of(process.pid))
    finally:
        for pid in group_of(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert "--resume goes on" in (tmp_path / "err").read_text()
    assert not (tmp_path / "out").read_bytes()


@dask
@pytest.mark.long
def test_workers_run_the_plugins_of_the_process_that_leads(f32, tmp_path):
    scene, losses = write_toy(tmp_path), "fit.losses={lorentzian = 1.0, alpha_mse = 1.0}"
    loss = Path(tidr.__file__).parent / "docs" / "examples" / "loss.py"
    folder, found = tmp_path / "run", []
    for workers in ("1", "2"):
        command = [sys.executable, "-m", "tidr.cli", "--plugin", str(loss), "fit", str(scene), "--steps", "3"]
        command += ["--set", losses, "-o", f"{folder}{workers}", "--workers", workers]
        subprocess.run(command, check=True, timeout=LONG, capture_output=True)
        found.append(np.loadtxt(f"{folder}{workers}/loss.csv", delimiter=",", skiprows=1)[:, :3])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)


def test_another_plugin_than_that_of_the_process_that_leads_is_refused(tmp_path):
    (tmp_path / "loss.py").write_text("NUMBER = 1\n")
    job = Job("a", str(tmp_path / "scene.toml"), (), "", "cpu", 32, {"0" * 64: str(tmp_path / "loss.py")})
    with pytest.raises(FileError, match=r"loss\.py: this plugin is another"):
        _work(job, 0, 0, Share(0, 1), {}, 1)


def until(done, process: subprocess.Popen | None = None) -> None:
    """Wait, but not for ever, nor for a process that has ended."""
    end = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        time.sleep(0.1)


def group_of(leader: int) -> list[int]:
    """Living processes of a group."""
    found = subprocess.run(["ps", "-e", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()]
    return [int(pid) for pid, group, state in rows if int(group) == leader and not state.startswith("Z")]


@pytest.mark.parametrize("options", [["--workers", "2"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_without_the_extra_the_command_says_how_to_install_it(f32, tmp_path, monkeypatch, options):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = CliRunner().invoke(app, ["fit", str(write_toy(tmp_path)), "-o", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert "pip install 'tidr[distributed]'" in result.output


def test_a_crew_that_is_lost_ends_the_fit_after_a_save(f32, tmp_path):
    class Lost(Alone):
        def parts(self, plan, step, at):
            if at == 2:
                raise CrewError("workers", "all are lost")
            return super().parts(plan, step, at)

    with pytest.raises(FitError, match="all are lost; the state is saved"):
        fit_from_settings(load_scene(write_toy(tmp_path)), output=tmp_path / "run", watcher=Watcher(), crew=Lost())
    assert (tmp_path / "run" / "checkpoint-0000002.npz").is_file()
