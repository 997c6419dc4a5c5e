"""A scene as an HTML file that shows itself offline."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import tidr
from tidr.cli import app
from tidr.errors import SceneError
from tidr.files.html import write_html

from .test_plots import scene_of_points

# The page's script in a browser that only notes what it is asked to draw.
BROWSER = """
const page = require("fs").readFileSync(process.argv[1], "utf8"), asked = [];
const [shapes, code] = [...page.matchAll(/<script[^>]*>([^]*?)<\\/script>/g)].map(found => found[1]);
const answers = { getProgramParameter: true, getAttribLocation: 0 };
const gl = new Proxy({}, { get: (_, name) => /^[A-Z0-9_]+$/.test(name) ? name
  : (...given) => { asked.push([name, given]); return name in answers ? answers[name] : name; } });
const node = () => ({ append() {} });
const canvas = { getContext: () => gl, clientWidth: 400, clientHeight: 200 };
const found = { canvas, "#shapes": { textContent: shapes } };
global.document = { querySelector: name => found[name] || node(), createElement: node };
global.window = { devicePixelRatio: 1 };
new Function(code)();
const of = name => asked.filter(one => one[0] === name).map(one => one[1]);
console.log(JSON.stringify({
  triangles: of("drawElements").map(one => one[1]), points: of("drawArrays").map(one => one[2]),
  view: of("uniformMatrix4fv")[0][2], eye: of("uniform3fv")[0][1] }));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    tidr.init(arch="cpu")
    path = tmp_path_factory.mktemp("page") / "scene.html"
    scene = scene_of_points()
    scene.add_node("</script><b>", tidr.Node(tidr.PointCloud(np.zeros((2, 3)))))
    assert write_html(scene, path) == 5
    return path


@pytest.mark.row(166)
def test_the_page_holds_the_geometry_and_needs_nothing_else(page):
    text = page.read_text()
    assert not re.search(r"(src|href)\s*=|https?:|import\s|fetch\(|url\(", text)
    assert text.count("</script>") == 2
    shapes = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])
    assert [shape["name"] for shape in shapes] == ["dots", "tile", "clay_tile", "beads", "</script><b>"]

    def numbers(shape, key, kind):
        return np.frombuffer(base64.b64decode(shape[key]), kind)

    tile = shapes[1]
    assert np.array_equal(numbers(tile, "positions", "<f4"), [0, 0, 1, 2, 0, 1, 0, 2, 1])
    assert np.array_equal(numbers(tile, "faces", "<u4"), [0, 1, 2])
    assert np.array_equal(numbers(tile, "colors", "u1"), 255 * np.eye(3).ravel())
    assert np.array_equal(numbers(shapes[2], "colors", "u1")[:3], [124, 170, 203])  # 0.2, 0.4, 0.6 as sRGB
    assert len(numbers(shapes[0], "faces", "<u4")) == 0


@pytest.mark.row(166)
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the page's script")
def test_the_page_draws_everything_before_a_camera_that_sees_it(page):
    done = subprocess.run(["node", "-e", BROWSER, str(page)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    drawn = json.loads(done.stdout)
    assert drawn["triangles"] == [3, 3]
    assert drawn["points"] == [10, 4, 2]
    view = np.reshape(drawn["view"], (4, 4)).T
    for corner in ([0, 0, 1], [2, 0, 1], [0, 2, 1]):
        x, y, z, w = view @ [*corner, 1.0]
        assert w > 0
        assert max(abs(x), abs(y), abs(z)) < w
        assert w == pytest.approx(np.dot(np.subtract(drawn["eye"], corner), -view[3, :3]), rel=1e-6)


def test_convert_writes_a_page(page, tmp_path):
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["convert", "cube", str(tmp_path / "cube.html")])
    assert done.exit_code == 0, done.output
    assert "1 nodes" in done.output
    assert (tmp_path / "cube.html").stat().st_size > 6000


def test_a_scene_of_grids_is_refused(f32, tmp_path):
    scene = tidr.Scene()
    scene.add_node("smoke", tidr.Node(tidr.Volume(np.ones((2, 2, 2)))))
    with pytest.raises(SceneError, match="no mesh, points or Gaussians"):
        write_html(scene, tmp_path / "a.html")
