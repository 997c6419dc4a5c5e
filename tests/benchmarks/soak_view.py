"""Uses the viewer for long, with real keys and a real mouse on a virtual screen, and watches its memory.

    python tests/benchmarks/soak_view.py [--minutes 30] [--shots FOLDER]

Needs Xvfb and xdotool (Debian: xvfb xdotool) and a Vulkan driver. First frames per second are measured with the duck at
512 x 512, then everything is used once, then at random, and at last a fit is watched and held. Exit code 1 when
something was not exercised, the viewer ended, or memory grew by 5 % or more after the first fifth.
"""

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from tests.benchmarks.soak_fit import LARGEST_GROWTH, resident_mb
from tidr.files.image import write_image
from tidr.files.srgb import srgb_to_linear
from tidr.renderers.renderer import known_renderers
from tidr.viewer.state import CHANNELS, KEYS, MOVES

SIDE, SCREEN = 256, (1280, 1024)
SIZES = ((580, 512), (700, 560), (832, 512))  # of the window; few, since each has buffers of its own
PANEL = 320
KEYSYMS = {" ": "space"}
SPIN_SECONDS = 15.0


def child(part: str, log: Path) -> None:
    """The viewer, in a process of its own: writes a line whenever its state changed, or a tenth of a second passed."""
    import tidr
    from tidr.viewer.live import LiveFit
    from tidr.viewer.state import State
    from tidr.viewer.window import Window

    tidr.init("cpu")
    scene = tidr.load("duck")
    side = 512 if part == "speed" else SIDE
    window = Window(scene, State.of(scene), side, side, "soak")
    recorder = Recorder(window, log)
    if part != "fit":
        window.run(recorder)
        return
    from tidr.fitting.fit import fit_from_settings
    from tidr.fitting.loop import Watcher

    live = LiveFit(Watcher(), lambda: window)
    shown = window.frame

    def frame() -> bool:
        drawn = shown()
        recorder(window, drawn)
        return drawn

    window.frame = frame  # type: ignore[method-assign]
    fit_from_settings(scene, steps=100_000, watcher=live)


class Recorder:
    """Writes the state of a window to a file, line by line."""

    def __init__(self, window, log: Path) -> None:
        self.file, self.frames, self.last, self.then = open(log, "w"), 0, "", 0.0  # noqa: SIM115
        self.parameters = window.scene.parameters()

    def __call__(self, window, drawn: bool) -> None:
        state, self.frames = window.state, self.frames + 1
        names = ("channel", "exposure", "detail", "group", "path", "row", "entry", "spin", "panel", "help", "camera")
        line = {name: getattr(state, name) for name in (*names, "paused", "fitting", "message")}
        line |= {"renderer": state.choice.name, "treatment": state.treatment, "fly": state.orbit.fly}
        line |= {"pose": hash(state.orbit.key()), "size": window._pixels.shape, "note": window.note}
        line |= {"versions": [each.version for each in self.parameters.values()], "number": window.curve.number}
        text, now = json.dumps(line), time.time()
        if text != self.last or now - self.then > 0.1:
            self.last, self.then = text, now
            self.file.write(json.dumps(line | {"frame": self.frames, "time": now, "rss": resident_mb()}) + "\n")
            self.file.flush()


class Viewer:
    """The parent's side: starts the child, sends it keys and mouse, reads what became of them."""

    def __init__(self, part: str, folder: Path, display: str) -> None:
        self.log, self.display, self.part = folder / f"{part}.jsonl", display, part
        self.environment = os.environ | {"DISPLAY": display}
        command = [sys.executable, __file__, "--child", part, "--log", str(self.log)]
        self.process = subprocess.Popen(command, env=self.environment, cwd=folder)
        self.wait(lambda: self.lines() and self.lines()[-1]["frame"] > 3, 180)
        self.id = self.xdotool("search", "--onlyvisible", "--name", ".").split()[0]
        place = self.xdotool("getwindowgeometry", self.id).split("Position: ")[1].split()[0]
        self.left, self.top = (int(number) for number in place.split(","))

    def xdotool(self, *words) -> str:
        command = ["xdotool", *(str(word) for word in words)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def wait(self, done, seconds: float) -> None:
        end = time.time() + seconds
        while not done():
            if self.process.poll() is not None:
                raise SystemExit(f"the viewer ended with code {self.process.returncode}")
            if time.time() > end:
                raise SystemExit(f"{self.part}: waited {seconds:.0f} s in vain; last {self.last}")
            time.sleep(0.05)

    def lines(self) -> list[dict]:
        whole = self.log.read_text().rpartition("\n")[0] if self.log.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def last(self) -> dict:
        with open(self.log, "rb") as file:
            file.seek(max(os.path.getsize(self.log) - 20_000, 0))
            return json.loads(file.read().decode().rpartition("\n")[0].rpartition("\n")[2])

    def settle(self) -> dict:
        """Wait until the viewer has heard what was sent: it says so ten times a second."""
        then = self.last["frame"]
        time.sleep(0.1)
        self.wait(lambda: self.last["frame"] > then + 1, 300)
        return self.last

    def key(self, key: str) -> dict:
        self.xdotool("key", KEYSYMS.get(key, key))
        return self.settle()

    def drag(self, button: int, start: tuple[int, int], end: tuple[int, int]) -> dict:
        """Press at `start`, move in steps to `end`, let go; window pixels from the top left."""
        self.xdotool("mousemove", self.left + start[0], self.top + start[1])
        self.settle()
        self.xdotool("mousedown", button)
        self.settle()
        for share in (0.3, 0.7, 1.0):
            x, y = (round(a + share * (b - a)) for a, b in zip(start, end, strict=True))
            self.xdotool("mousemove", self.left + x, self.top + y)
            time.sleep(0.03)
        self.settle()
        self.xdotool("mouseup", button)
        return self.settle()

    def close(self) -> int:
        if self.process.poll() is None:
            self.xdotool("key", "Escape")
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def use_everything(viewer: Viewer, shots) -> set[str]:
    """Press every key, show every channel by every renderer, drag everything; what was not seen to work."""
    missing = set()
    for key in [*MOVES, *(key for key in KEYS if key not in ("Escape", " ", "n"))]:
        before = viewer.key("w") if key == "h" else viewer.last
        after = viewer.key(key)
        keys = [name for name in before if name not in ("frame", "time", "rss")]
        if all(before[name] == after[name] for name in keys) and key not in ("c", "x", "u"):
            missing.add(f"key {key}")  # the duck has one camera; x moves ranges only; u undoes nothing yet
        if key in ("m", "k", "b", "f", "p"):
            shots(viewer, f"key_{key}")
            viewer.key(key) if key != "p" else None
        while viewer.last["renderer"] != "raster" or viewer.last["channel"] != "rgb":
            viewer.key("r" if viewer.last["renderer"] != "raster" else "v")
    for button, name in ((1, "turn"), (2, "zoom"), (3, "pan")):
        before = viewer.last["pose"]
        if viewer.drag(button, (60, 60), (150, 110))["pose"] == before:
            missing.add(f"drag to {name}")
    viewer.key("h")
    while viewer.last["path"] != "duck.translation":
        viewer.key("Tab")
    for renderer in range(len(known_renderers())):
        seen = set()
        while viewer.last["treatment"] not in seen:
            seen.add(viewer.last["treatment"])
            for channel in CHANNELS:
                while viewer.last["channel"] != channel:
                    viewer.key("v")
                if len(seen) == 1:
                    shots(viewer, f"{renderer}_{viewer.last['renderer']}_{channel}")
            viewer.key("t")
        viewer.key("r")
    while viewer.last["channel"] != "rgb":
        viewer.key("v")
    missing |= use_sliders(viewer)
    shots(viewer, "sliders")
    return missing


def use_sliders(viewer: Viewer) -> set[str]:
    """Click every line of the panel while each parameter is chosen; those that no slider moved."""
    missing, first, moved = set(), viewer.last["path"], set()
    paths: list[str] = []
    while not paths or viewer.last["path"] != first:
        paths.append(viewer.last["path"])
        for y in range(250, 500, 22):  # below the buttons of renderer and channel
            before = viewer.last
            x = before["size"][0] - PANEL + 30
            after = viewer.drag(1, (x, y), (x, y))  # a slider jumps there; a drag beside one would move the panel
            if after["path"] == before["path"] and after["versions"] != before["versions"]:
                moved.add(after["path"])
            while viewer.last["path"] != paths[-1]:  # a button of the list was hit
                viewer.key("Tab")
            while viewer.last["group"]:
                viewer.key("g")
        viewer.key("u")
        while viewer.last["path"] != paths[-1]:
            viewer.key("Tab")
        viewer.key("Tab")
    missing |= {f"sliders of {path}" for path in set(paths) - moved}
    return missing


def use_at_random(viewer: Viewer, until: float, rng: random.Random) -> int:
    """Keys, drags and sizes at random; how many. Slow renderers get their turn, then the rasterizer again."""
    actions = 0
    keys = [*MOVES, *(key for key in KEYS if key not in ("Escape", "p", "r"))]
    while time.time() < until:
        kind, (across, high) = rng.random(), viewer.last["size"]
        if kind < 0.6:
            viewer.key(rng.choice(keys))
        elif kind < 0.8:
            places = [(rng.randrange(10, max(across - PANEL, 40)), rng.randrange(10, high - 10)) for _ in range(2)]
            viewer.drag(rng.choice((1, 2, 3)), places[0], places[1])
        elif kind < 0.95:
            y = rng.randrange(40, high - 5)
            viewer.drag(1, (across - PANEL + 30, y), (across - rng.randrange(100, 280), y))
        elif kind < 0.98:
            viewer.xdotool("windowsize", viewer.id, *rng.choice(SIZES))
            viewer.settle()
        else:
            viewer.key("r")
            while viewer.last["renderer"] != "raster":
                viewer.key("r")
        actions += 1
        if actions % 50 == 0:
            viewer.key("u")
            viewer.key("h")
    return actions


def use_fit(viewer: Viewer, shots) -> set[str]:
    """Hold a fit, step it, let it go on."""
    missing = set()
    time.sleep(20)
    viewer.settle()
    shots(viewer, "fit_running")
    viewer.key(" ")
    held = viewer.settle()["number"]
    time.sleep(2)
    if viewer.last["number"] != held or not viewer.last["paused"]:
        missing.add("pause")
    if viewer.key("n")["number"] != held + 1:
        missing.add("one step")
    shots(viewer, "fit_paused")
    viewer.key(" ")
    time.sleep(5)
    if viewer.last["number"] <= held + 1:
        missing.add("play")
    return missing


class Shots:
    """Pictures of the virtual screen, read from Xvfb's memory (an XWD file)."""

    def __init__(self, screen: Path, folder: Path) -> None:
        self.screen, self.folder = screen, folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, viewer: Viewer, name: str) -> None:
        viewer.settle()
        data = self.screen.read_bytes()
        header = struct.unpack(">25I", data[:100])
        size, width, height, line, colours = (header[at] for at in (0, 4, 5, 12, 19))
        begin = size + 12 * colours
        pixels = np.frombuffer(data[begin : begin + line * height], np.uint8).reshape(height, line // 4, 4)
        across, high = viewer.last["size"]
        part = pixels[viewer.top : viewer.top + high, viewer.left : viewer.left + across, 2::-1]
        write_image(self.folder / f"{name}.png", srgb_to_linear(part / 255.0)[:, : width - viewer.left])


def speed(viewer: Viewer) -> float:
    """Frames per second while the view spins."""
    viewer.key("b")
    time.sleep(2)
    first = viewer.settle()
    time.sleep(SPIN_SECONDS)
    last = viewer.settle()
    return (last["frame"] - first["frame"]) / (last["time"] - first["time"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--shots", type=Path, default=Path("soak_view"))
    parser.add_argument("--child", choices=("speed", "view", "fit"), help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.log)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder, display = Path(name), ":87"
        size = f"{SCREEN[0]}x{SCREEN[1]}x24"
        xvfb = subprocess.Popen(["Xvfb", display, "-screen", "0", size, "-fbdir", name], stderr=subprocess.DEVNULL)
        try:
            time.sleep(2)
            return soak(folder, display, options.minutes, Shots(folder / "Xvfb_screen0", options.shots.resolve()))
        finally:
            xvfb.terminate()
            xvfb.wait()


def soak(folder: Path, display: str, minutes: float, shots: Shots) -> int:
    began = time.time()
    viewer = Viewer("speed", folder, display)
    print(f"{speed(viewer):.1f} frames/s of the duck at 512 x 512, all time counted", flush=True)
    shots(viewer, "duck_512")
    codes = [viewer.close()]
    viewer = Viewer("view", folder, display)
    missing = use_everything(viewer, shots)
    used = time.time()
    print(f"everything was used once in {(used - began) / 60:.1f} minutes; missing: {sorted(missing)}", flush=True)
    actions = use_at_random(viewer, max(began + 60 * minutes, used + 60), random.Random(0))
    shots(viewer, "at_the_end")
    codes.append(viewer.close())
    lines = viewer.lines()
    after = [line["rss"] for line in lines if line["time"] > used]
    tenths = [max(part) for part in np.array_split(after, 10)]
    growth = max(tenths[-2:]) / max(tenths[:2])
    print(
        f"{actions} random actions, {lines[-1]['frame']} frames; memory then {growth:.3f} of what it was, MB by tenths"
    )
    print(*(round(most) for most in tenths))
    viewer = Viewer("fit", folder, display)
    missing |= use_fit(viewer, shots)
    viewer.process.terminate()  # saved and ended as Ctrl-C would, but for the code
    codes.append(0 if viewer.process.wait(120) == 143 else 1)
    print(f"codes {codes}; not exercised: {sorted(missing) or 'nothing'}")
    return 0 if growth < LARGEST_GROWTH and not missing and not any(codes) else 1


if __name__ == "__main__":
    sys.exit(main())
