"""`Workers`: the processes that work out the shares of a fit's steps, on this machine or on a cluster of Dask.

Each loads the scene and its views from their files, once, and is sent what changes with every step. This process leads:
it alone holds the optimizers, density control and checkpoints. A share belongs to no process: that of a lost one is
handed to another by Dask, and comes out the same.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tidr.files.plugins import load_same, loaded_plugins
from tidr.files.scene_file import load_scene

from .. import runtime
from ..errors import SceneError
from .fit import planned
from .step import CrewError, Part, Share, moving, part_of, refuse_shares, split_count, take

if TYPE_CHECKING:
    from .loop import Plan

ANSWER = 20.0  # seconds in which a scheduler answers
LOOK = 2.0  # seconds between looks at who is there
MISSED = 60.0  # seconds without any worker after which all are taken for lost
TRIES = 3  # times that a step is asked for anew where it was lost with all who knew of it
INSTALL = "pip install 'tidr[distributed]'"


@dataclass(frozen=True)
class Job:
    """One fit, as a worker must know it.

    scene, overrides: see `load_scene`. digest: see `digest_of`. arch: of the running backend, or "auto". plugins: see
    `loaded_plugins`.
    """

    name: str
    scene: str
    overrides: tuple[str, ...]
    digest: str
    arch: str
    precision: int
    plugins: dict[str, str]


class Workers:
    """Inside the block, the crew of `fit_from_settings(crew=...)`.

    Args:
        scene, overrides: what the workers load; on other machines it has the same path there.
        count: processes on this machine, which share its CPU threads; or with `scheduler` how many workers to wait
            for, those that there are when None.
        scheduler: address of a running Dask scheduler, as "tcp://10.0.0.1:8786". Each worker takes the best backend of
            its machine, and as many CPU threads as it has Dask threads.

    Raises (on entering):
        SceneError: the extra `distributed` is not installed, or no scheduler answers, or it has too few workers.
    """

    def __init__(
        self, scene: str, overrides: Sequence[str] = (), count: int | None = None, scheduler: str | None = None
    ) -> None:
        try:
            import distributed
        except ImportError:
            raise SceneError("workers", "several processes need Dask", INSTALL) from None
        self._dask, self._open = distributed, ExitStack()
        self.scene = str(Path(scene).resolve()) if Path(scene).exists() else scene
        self.overrides, self.count, self.scheduler = tuple(overrides), count, scheduler
        self._job: Job | None = None
        self._shares = 0

    def __enter__(self) -> Workers:
        import dask

        with ExitStack() as stack:
            address = self.scheduler or stack.enter_context(self._local_cluster())
            stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": ANSWER}))
            try:
                self.client = stack.enter_context(self._dask.Client(address, timeout=ANSWER))
                self.client.wait_for_workers(self.count or 1, timeout=MISSED)
            except (OSError, TimeoutError, ValueError) as error:
                mend = "start `dask scheduler` and `dask worker ADDRESS`, or give --workers alone"
                raise SceneError("scheduler", f"{self.scheduler} gives no {self.count or 1} workers", mend) from error
            if self.scheduler is None:
                self.client.register_plugin(_deaf())
            self.count = self.count or len(self.client.nthreads())
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exception) -> None:
        self._open.close()

    def parts(self, plan: Plan, step: int, at: int) -> list[Part]:
        """See `Crew`."""
        if self._job is None:
            refuse_shares(plan)
            running, arch = runtime.current(), "auto" if self.scheduler else runtime.current().arch
            name = uuid.uuid4().hex
            own = (digest_of(plan), arch, running.precision, loaded_plugins())
            self._job = Job(name, self.scene, self.overrides, *own)
            self._shares = split_count(plan, self.count or 1)
        values = {path: parameter.numpy() for path, parameter in moving(plan).items()}
        for left in reversed(range(TRIES)):
            try:
                return self._asked(values, step, at)
            except (self._dask.KilledWorker, CancelledError, OSError) as error:
                if not left or isinstance(error, TimeoutError):
                    mend = "look at their messages and memory; --resume goes on from there"
                    raise CrewError("workers", "all are lost, or each dies of its share", mend) from error
        raise AssertionError

    def _asked(self, values: dict[str, np.ndarray], step: int, at: int) -> list[Part]:
        (held,) = self.client.scatter([values], broadcast=True, hash=False, timeout=MISSED)
        addresses = sorted(self.client.nthreads())
        futures = []
        for number in range(self._shares):
            whom = {"workers": addresses[number % len(addresses)], "allow_other_workers": True} if addresses else {}
            share = Share(number, self._shares)
            futures.append(self.client.submit(work, self._job, step, at, share, held, pure=False, **whom))
        return self._waited(futures)

    def _waited(self, futures: list) -> list[Part]:
        """What the futures hold; it goes on for as long as there are workers, which may be long where they compile."""
        seen = time.monotonic()
        while True:
            with suppress(TimeoutError):
                self._dask.wait(futures, timeout=LOOK)
                return list(self.client.gather(futures))
            seen = time.monotonic() if self.client.nthreads() else seen
            if time.monotonic() - seen > MISSED:
                raise TimeoutError

    def _local_cluster(self) -> Any:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = self.count or 1
        return self._dask.LocalCluster(
            n_workers=count, threads_per_worker=max(cores // count, 1), processes=True, dashboard_address=None,
            silence_logs="CRITICAL", memory_limit=0,
        )  # fmt: skip


def digest_of(plan: Plan) -> str:
    """Of the views, of what there is to fit and how, so that files which differ from machine to machine are found out.

    It knows no values of parameters: rounding may differ between machines, and those that are fitted are sent.
    """
    options = {key: value for key, value in vars(plan.renderer).items() if isinstance(value, bool | int | float | str)}
    terms = [(term.name, term.weight) for term in plan.objective.terms]
    steps = (plan.seed, plan.horizon, plan.views_per_step, plan.rays_per_step, plan.random_background)
    digest = hashlib.sha256(plan.views.digest.encode())
    digest.update(repr((type(plan.renderer).__name__, sorted(options.items()), terms, steps)).encode())
    for path, parameter in plan.scene.parameters().items():
        digest.update(f"{path} {parameter.shape}".encode())
    return digest.hexdigest()


_hand = ThreadPoolExecutor(1)  # Taichi is used from one thread, whatever threads Dask takes
_known: dict[str, Plan] = {}


def work(job: Job, step: int, at: int, share: Share, values: dict[str, np.ndarray]) -> Part:
    """In a worker: what becomes of a share.

    Raises:
        SceneError: the files here are not those of the process that leads.
    """
    from distributed import get_worker

    return _hand.submit(_work, job, step, at, share, values, get_worker().state.nthreads).result()


def _work(job: Job, step: int, at: int, share: Share, values: dict[str, np.ndarray], threads: int) -> Part:
    plan = _known.get(job.name)
    if plan is None:
        _known.clear()
        load_same(job.plugins)
        runtime.init(job.arch, job.precision, threads=threads)
        plan, _ = planned(load_scene(job.scene, job.overrides))
        if digest_of(plan) != job.digest:
            what = "the scene, its [fit] table or its pictures are others than where the fit was started"
            raise SceneError(job.scene, f"in a worker {what}", "give all machines the same files at the same paths")
        _known[job.name] = plan
    take(plan, values, at)
    return part_of(plan, step, at, share)


def _deaf() -> Any:
    """A plugin of workers that leaves Ctrl-C to the process that leads; it comes to all that a terminal runs."""
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()
