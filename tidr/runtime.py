"""Starts Taichi once: backend, precision, seed; and says what was started."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BackendError
from .front_end import copy_directly, shorten

ARCHES = ("auto", "cpu", "cuda", "metal", "vulkan")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What `init` started: the backend's name, bits of a real number, seed, CPU threads."""

    arch: str
    precision: int
    seed: int
    threads: int


_current: Runtime | None = None
_generation = 0


@functools.cache
def taichi() -> Any:
    """Import Taichi without its banner."""
    os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
    os.environ.setdefault("TI_LOG_LEVEL", "error")
    with contextlib.redirect_stdout(io.StringIO()):
        import taichi as ti
        from taichi.lang import _ndarray, impl, kernel_impl
        from taichi.lang.ast.ast_transformer_utils import ASTTransformerContext

    ti.set_logging_level(ti.ERROR)
    shorten(kernel_impl, ASTTransformerContext)
    copy_directly(_ndarray, impl, lambda: _generation if _current and _current.arch == "cpu" else 0)
    return ti


def init(arch: str = "auto", precision: int = 32, seed: int = 0, threads: int | None = None) -> Runtime:
    """Start Taichi on a backend; everything made before becomes stale.

    Args:
        arch: "auto" takes the first of cuda, metal, a hardware Vulkan device, cpu. A named backend starts or raises.
        precision: 32, or 64 for gradient checks (cpu and cuda).
        seed: seed of every counter-based random number.
        threads: CPU threads; all that this process may use when None.

    Raises:
        BackendError: unknown name, or the backend did not start.
    """
    global _current, _generation
    if arch not in ARCHES:
        raise BackendError("init", f"unknown arch {arch!r}", f"choose one of {', '.join(ARCHES)}")
    if precision not in (32, 64):
        raise BackendError("init", f"precision is {precision}", "choose 32 or 64")
    if precision == 64 and arch in ("metal", "vulkan"):
        raise BackendError("init", f"{arch} computes in 32 bits only", 'take arch="cpu" for precision=64')
    ti = taichi()
    chosen = _choose(precision) if arch == "auto" else arch
    count = threads or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    _current = None
    with contextlib.redirect_stdout(io.StringIO()):  # Taichi greets on standard output
        ti.init(
            arch=getattr(ti, chosen),
            default_fp=ti.f64 if precision == 64 else ti.f32,
            random_seed=seed,
            cpu_max_num_threads=count,
            debug=os.environ.get("TIDR_DEBUG") == "1",
            # Takes as long as all the rest, and nothing runs faster for it. (Without, a local may not change from a
            # number to a vector.)
            cfg_optimization=False,
        )
    started = ti.lang.impl.current_cfg().arch
    if started != getattr(ti, chosen):
        raise BackendError("init", f"{chosen} did not start (Taichi fell back to {started})", _mend(chosen))
    _generation += 1
    _current = Runtime(arch=chosen, precision=precision, seed=seed, threads=count)
    return _current


def current() -> Runtime:
    """The running backend; the first call starts "auto"."""
    return _current or init()


def started() -> Runtime | None:
    """The running backend, or None when nothing was started yet."""
    return _current


def generation() -> int:
    """Grows with every `init`; what was allocated under an older number is stale."""
    current()
    return _generation


def real():
    """Taichi's type of a real number at the running precision."""
    ti = taichi()
    return ti.f64 if current().precision == 64 else ti.f32


def on_cpu() -> bool:
    return current().arch == "cpu"


def chunks() -> int:
    """Private gradient buffers of an adjoint: one per CPU thread, one (with atomics) on a GPU."""
    runtime = current()
    return runtime.threads if runtime.arch == "cpu" else 1


def reduction_chunks() -> int:
    """Partial sums of a reduction to few numbers: one per CPU thread, many on a GPU."""
    return current().threads if on_cpu() else 512


def chunk_block() -> int:
    """block_dim of a loop over reduction chunks: on a CPU 1, so that every thread takes one chunk."""
    return 1 if on_cpu() else 64


def vulkan_devices() -> list[dict]:
    """Vulkan devices as {"name", "software"}; asked for in a child process, since a broken driver may crash it."""
    probe = Path(__file__).with_name("vulkan_probe.py")
    try:
        done = subprocess.run([sys.executable, "-I", str(probe)], capture_output=True, timeout=20, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return []


def _choose(precision: int) -> str:
    ti = taichi()
    core = ti._lib.core
    if core.with_cuda():
        return "cuda"
    if precision == 32 and sys.platform == "darwin" and core.with_metal():
        return "metal"
    if precision == 32 and any(not device["software"] for device in vulkan_devices()):
        return "vulkan"
    return "cpu"


def _mend(arch: str) -> str:
    return {
        "cuda": "install an NVIDIA driver, or take arch='cpu'",
        "vulkan": "install a Vulkan driver (Debian: mesa-vulkan-drivers libvulkan1), or take arch='cpu'",
        "metal": "Metal needs macOS; take arch='cpu'",
    }.get(arch, "run `tidr doctor`")
