"""What a verb shows: a progress bar in a terminal, plain lines elsewhere."""

import math
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LINES = 20  # plain lines over a fit


@contextmanager
def plain_warnings(verb: str) -> Iterator[None]:
    """Whatever is warned of inside stands on standard error in one line, without the place in the code."""

    def show(message, *_, **_named) -> None:
        text = "; ".join(line.strip() for line in str(message).splitlines() if line.strip())
        print(f"tidr {verb}: warning: {text}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def watcher():
    """The watcher of a fit that suits standard error: rich in a terminal, else plain."""
    return _bar() if sys.stderr.isatty() else _plain()


def _plain():
    from tidr.fitting.loop import Watcher

    class Plain(Watcher):
        """Some lines over the fit, each with loss, PSNR and time left."""

        def start(self, done: int, total: int) -> None:
            self.total, self.every = total, max(total // LINES, 1)
            self.before = (done, time.monotonic())

        def step(self, step: int, loss: float, psnr: float | None) -> None:
            if step % self.every == 0 or step == self.total:
                now, (done, then) = time.monotonic(), self.before
                left = (now - then) / (step - done) * (self.total - step)
                self.before = (step, now)
                parts = [f"step {step}/{self.total}", f"loss {loss:.5g}"]
                parts += [f"PSNR {psnr:.1f} dB"] if psnr is not None else []
                self.say("  ".join([*parts, f"{clock(left)} left"]))

        def say(self, text: str) -> None:
            print(text, file=sys.stderr, flush=True)

    return Plain()


def _bar():
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tidr.fitting.loop import Watcher

    class Bar(Watcher):
        """A bar with loss, PSNR and time left."""

        def __init__(self) -> None:
            self.console = Console(stderr=True)
            words = TextColumn("loss {task.fields[loss]}  PSNR {task.fields[psnr]}")
            self.progress = Progress(
                TextColumn("fit"), BarColumn(), MofNCompleteColumn(), words, TimeRemainingColumn(), console=self.console
            )

        def start(self, done: int, total: int) -> None:
            self.task = self.progress.add_task("fit", total=total, completed=done, loss="-", psnr="-")
            self.progress.start()

        def step(self, step: int, loss: float, psnr: float | None) -> None:
            shown = f"{psnr:.1f} dB" if psnr is not None else "-"
            self.progress.update(self.task, completed=step, loss=f"{loss:.5f}", psnr=shown)

        def say(self, text: str) -> None:
            self.console.print(text, markup=False, highlight=False)

        def stop(self) -> None:
            self.progress.stop()

    return Bar()


def board(folder, scene, inner):
    """A watcher that writes for TensorBoard and passes on what it hears.

    Raises:
        FileError: TensorBoard is not installed.
    """
    try:
        from tidr.tensorboard import TensorBoard
    except ImportError as error:
        from tidr.errors import FileError

        raise FileError("--tensorboard", "TensorBoard is not installed", "pip install 'tidr[tensorboard]'") from error
    return TensorBoard(folder, scene, inner=inner)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    whole = math.ceil(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
