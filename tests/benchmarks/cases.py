"""Runs the cases of a benchmark, each in a process of its own, and whatever it is compared with right after it."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tidr

Times = dict[str, float]
ASSETS = Path(__file__).parents[3] / "shared" / "assets"


def run_cases(
    script: str, about: str | None, cases: Mapping[str, Callable[[argparse.Namespace], Times]],
    compare: Callable[[str, Times, argparse.Namespace], list[dict]],
) -> None:  # fmt: skip
    """The command line of a benchmark.

    Args:
        script: its file. about: its help.
        cases: functions of the options (`assets`; `begun`, when the process was started) to figures by name.
        compare: prints and returns the rows of the rivals of one case; asked only with --rivals.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, default=time.time(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        tidr.init(arch="cpu")
        print(json.dumps(cases[options.case](options)))
        return
    rows = []
    for name in cases:
        if options.only and options.only not in name:
            continue
        command = [sys.executable, script, "--case", name, "--assets", str(options.assets), "--begun", str(time.time())]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"{name}: failed\n{done.stderr[-2000:]}")
            continue
        ours = json.loads(done.stdout.splitlines()[-1])
        rows.append({"case": name, **ours})
        print(name, {key: round(value, 3) for key, value in ours.items()}, flush=True)
        rows += compare(name, ours, options) if options.rivals else []
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
