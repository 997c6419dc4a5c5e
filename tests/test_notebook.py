"""The tutorial notebook runs as it stands, in an empty folder."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tidr

NOTEBOOK = Path(tidr.__file__).parent / "docs" / "tutorial.ipynb"


def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text())["cells"]


def test_the_notebook_holds_no_outputs():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert len({cell["id"] for cell in cells()}) == len(cells())
    assert NOTEBOOK.stat().st_size < 15_000


def test_the_notebook_finds_the_duck(f32, tmp_path, monkeypatch):
    """Cells with plots run where there is matplotlib."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tidr, "init", lambda: None, raising=False)  # the backend is the test's
    space: dict = {}
    for cell in cells():
        if cell["cell_type"] == "code" and ("plots" not in cell["metadata"].get("tags", ()) or find_spec("matplotlib")):
            exec(compile("".join(cell["source"]), f"notebook {cell['id']}", "exec"), space)
    metrics = space["result"].metrics["mean"]
    assert metrics["iou"] > 0.9
    assert metrics["psnr"] > 20
    assert np.abs(space["scene"]["thing"].vertices.numpy() - 0.6 * space["vertices"]).max() > 0.2
    assert np.allclose(space["again"]["thing"].vertices.numpy(), space["scene"]["thing"].vertices.numpy(), atol=1e-5)
