"""The viewer's pictures: those of `tidr.render`, in a file or a window, beside a fit that they leave alone."""

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tests.conftest import vulkan_is_there
from tests.fit_toys import toy_cameras, toy_scene, toy_views, write_toy
from tests.test_readme import block
from tidr import buffer
from tidr.cli import app
from tidr.errors import BackendError, SceneError
from tidr.files.image import encode_png, read_image
from tidr.fitting.fit import fit
from tidr.fitting.loop import Watcher
from tidr.fitting.optimizers import Adam
from tidr.viewer import window as windows
from tidr.viewer.curve import Curve
from tidr.viewer.drawing import Drawer, blank, to_bytes, write_png
from tidr.viewer.live import LiveFit
from tidr.viewer.offscreen import write_frames
from tidr.viewer.panel import Panel
from tidr.viewer.state import State

WIDTH, HEIGHT = 40, 32
runner = CliRunner()


@pytest.fixture(scope="module")
def scene():
    tidr.init("cpu")
    made = toy_scene()
    made.add_camera("front", tidr.Camera.look_at((1, 1, 3), (0, 0, 0), fov_y_degrees=40, width=WIDTH, height=HEIGHT))
    made.add_camera("side", tidr.Camera.look_at((3, 1, 0), (0, 0, 0), fov_y_degrees=40, width=WIDTH, height=HEIGHT))
    return made


def shown(scene, state: State) -> np.ndarray:
    """[H, W, 3] levels of what the state shows."""
    pixels = blank(WIDTH, HEIGHT)
    assert Drawer(scene).draw(state, pixels, WIDTH, HEIGHT), state.message
    return to_bytes(pixels).astype(int)


def encoded(rgb: np.ndarray, folder) -> np.ndarray:
    """Levels of a PNG that `tidr` writes of a linear picture."""
    from PIL import Image

    (folder / "wanted.png").write_bytes(encode_png(rgb))
    return np.asarray(Image.open(folder / "wanted.png")).astype(int)


def test_channels_are_those_of_a_render(scene, tmp_path):
    image = tidr.render(scene, "front")
    state = State.of(scene)
    assert np.abs(shown(scene, state) - encoded(image.rgb.numpy(), tmp_path)).max() <= 1
    state.expose(-1)
    assert np.abs(shown(scene, state) - encoded(0.5 * image.rgb.numpy(), tmp_path)).max() <= 1
    state.channel = "alpha"
    assert np.abs(shown(scene, state) - 255 * image.alpha.numpy()).max() <= 1
    state.channel = "normal"
    assert np.abs(shown(scene, state) - 127.5 * (1 + image.normal.numpy())).max() <= 1
    state.channel = "depth"
    found, depth = shown(scene, state)[..., 0], image.depth.numpy()[..., 0]
    assert (found[depth == 0] == 0).all()
    order = np.argsort(depth[depth > 0])
    assert (np.diff(found[depth > 0][order]) <= 0).all()  # nearer is brighter
    assert found.max() == 255
    state.channel = "ids"
    found, ids = shown(scene, state), image.ids
    assert (found[ids < 0] == 0).all()
    colours = {int(n): {tuple(colour) for colour in found[ids == n]} for n in np.unique(ids[ids >= 0])}
    assert all(len(each) == 1 for each in colours.values())
    assert len(set.union(*colours.values())) > 0.99 * len(colours) > 20


def test_coarse_pixels_are_a_smaller_render(scene, tmp_path):
    state = State.of(scene)
    state.next_detail()
    small = encoded(tidr.render(scene, "front", width=WIDTH // 2, height=HEIGHT // 2).rgb.numpy(), tmp_path)
    assert np.abs(shown(scene, state) - small.repeat(2, 0).repeat(2, 1)).max() <= 1


@pytest.mark.row(108)
def test_a_gradient_image_is_the_derivative_of_every_pixel(scene):
    """The picture is linear in the albedo, so its derivative is the picture over the albedo."""
    state, albedo = State.of(scene), scene["paint"].parameters()["albedo"]
    state.path, state.entry = "paint.albedo", 1
    albedo.set_grad(7.0)
    before = albedo.numpy()
    found = Drawer(scene).gradient(state, WIDTH, HEIGHT).numpy()
    rgb = tidr.render(scene, "front").rgb.numpy()
    np.testing.assert_allclose(found[..., 1], rgb[..., 1] / before[1], atol=2e-3)
    assert not found[..., [0, 2]].any()
    np.testing.assert_array_equal(albedo.numpy(), before)
    np.testing.assert_array_equal(albedo.grad_numpy(), np.full(3, 7.0))
    state.channel = "gradient"
    levels = shown(scene, state)
    assert (levels[..., 0] == 128).all()
    assert levels[..., 1].max() == 255


def test_a_gradient_image_wants_a_parameter(scene):
    state, drawer, pixels = State.of(scene), Drawer(scene), blank(WIDTH, HEIGHT)
    assert drawer.draw(state, pixels, WIDTH, HEIGHT)
    before = pixels.copy()
    state.channel = "gradient"
    assert not drawer.draw(state, pixels, WIDTH, HEIGHT)
    assert "no parameter is chosen" in state.message
    np.testing.assert_array_equal(pixels, before)


def test_a_renderer_that_does_not_suit_the_scene_says_so_and_leaves_the_picture(scene, tmp_path):
    state, drawer, pixels = State.of(scene), Drawer(scene), blank(WIDTH, HEIGHT)
    drawer.draw(state, pixels, WIDTH, HEIGHT)
    before = pixels.copy()
    names = [choice.name for choice in state.renderers]
    for name in ("points", "voxels", "neus"):
        state.renderer, state.treatment = names.index(name), 0
        assert not drawer.draw(state, pixels, WIDTH, HEIGHT)
        assert state.message, name
        assert not drawer.draw(state, pixels, WIDTH, HEIGHT)  # nor is it tried again
    np.testing.assert_array_equal(pixels, before)
    state.renderer, state.treatment = names.index("volume"), 0
    assert drawer.draw(state, blank(WIDTH, HEIGHT), WIDTH, HEIGHT)  # of a scene without volumes it draws nothing
    assert "the scene holds Mesh" in state.message
    state.renderer, state.treatment = 0, 1
    assert drawer.draw(state, pixels, WIDTH, HEIGHT)
    assert not state.message
    state.renderer = names.index("points")
    with pytest.raises(SceneError, match="PointCloud"):
        write_frames(scene, state, tmp_path, 8, 8, frames=1)


def test_nothing_is_drawn_twice_and_nothing_allocated(scene):
    state, drawer, pixels = State.of(scene), Drawer(scene), blank(WIDTH, HEIGHT)
    albedo = scene["paint"].parameters()["albedo"]
    for number in range(12):
        if number == 4:
            allocated = buffer.allocations
        state.orbit.turn(0.1, 0.0)
        assert drawer.draw(state, pixels, WIDTH, HEIGHT)
        assert not drawer.draw(state, pixels, WIDTH, HEIGHT)
        albedo.set(albedo.numpy())  # an edit
        assert drawer.draw(state, pixels, WIDTH, HEIGHT)
    assert buffer.allocations == allocated


def test_offscreen_pictures_are_the_views(scene, tmp_path):
    turn = write_frames(scene, State.of(scene), tmp_path / "turn", WIDTH, HEIGHT, frames=4)
    assert [path.name for path in turn] == [f"frame_{n:03d}.png" for n in range(4)]
    first, quarter = (read_image(path) for path in turn[:2])
    wanted = tidr.render(scene, "front").rgb.numpy()
    assert np.abs(first - wanted).max() < 0.01
    around = tidr.Camera.look_at((-3, 1, 1), (0, 0, 0), fov_y_degrees=40, width=WIDTH, height=HEIGHT)
    wanted = tidr.render(scene, around).rgb.numpy()
    assert np.abs(quarter - wanted).mean() < 1e-3 < 5e-3 < np.abs(first - wanted).mean()
    each = write_frames(scene, State.of(scene), tmp_path / "each", WIDTH, HEIGHT, every_camera=True)
    assert [path.name for path in each] == ["front.png", "side.png"]
    side = tidr.render(scene, "side").rgb.numpy()
    assert np.abs(read_image(each[1]) - side).max() < 0.01


def test_the_command_writes_what_the_window_would_show(scene, tmp_path, monkeypatch):
    out = tmp_path / "pictures"
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*block("view").split()[1:], "--width", "24"])  # the README's command
    assert result.exit_code == 0, result.output
    assert read_image(out / "frame_001.png").shape == (24, 24, 3)
    assert not np.array_equal(read_image(out / "frame_000.png"), read_image(out / "frame_001.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["view", "no_such_scene", "--offscreen", "-o", "out"], "no_such_scene"),
        (["view", "cube", "--offscreen"], "belong together"),
        (["view", "cube", "-o", "out"], "belong together"),
        (["view", "cube", "--offscreen", "-o", "out", "--channel", "colour"], "choose one of rgb"),
        (["view", "cube", "--offscreen", "-o", "out", "--renderer", "rester"], "rester"),
        (["view", "cube", "--offscreen", "-o", "out", "--treatment", "crisp"], "crisp"),
        (["view", "cube", "--offscreen", "-o", "out", "--parameter", "cube.vertexes"], "cube.vertexes"),
        (["view", "cube"], "needs a Vulkan driver"),
        (["fit", "{toy}", "--view"], "needs a Vulkan driver"),
    ],
)
def test_faults_are_one_line_and_code_2(scene, tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr(windows.runtime, "vulkan_devices", list)
    monkeypatch.chdir(tmp_path)
    arguments = [str(write_toy(tmp_path)) if item == "{toy}" else item for item in arguments]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_screen_no_window_is_tried(monkeypatch):
    monkeypatch.setattr(windows.runtime, "vulkan_devices", lambda: [{"name": "any", "software": True}])
    monkeypatch.setattr(windows.sys, "platform", "linux")
    for display in ("", ":987"):  # the second: nobody answers there
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(BackendError, match="no screen"):
            windows.refuse_without_window()
    windows.refuse_without_window(shown=False)


class Screenless:
    """What a window does in a fit, but for the window."""

    def __init__(self, scene) -> None:
        self.scene, self.state, self.open, self.note = scene, State.of(scene), True, ""
        self.state.path, self.curve = "paint.albedo", Curve()
        self.drawer, self.panel, self.pixels, self.drawn = Drawer(scene), Panel(), blank(48, 48), 0

    def frame(self) -> bool:
        self.state.next_channel()
        self.state.orbit.turn(0.2, 0.1)
        self.drawn += self.drawer.draw(self.state, self.pixels, 48, 48)
        self.panel.follow(self.state, self.scene.parameters())
        return True


def fitted(watcher=None) -> tuple[np.ndarray, np.ndarray]:
    """Losses of a short fit of colour and shape, and the shape that it ends with."""
    scene = toy_scene(colour=(0.2, 0.5, 0.6))
    scene.add_camera("view_0", toy_cameras()[0])
    params = scene.parameters("paint.albedo", "ball.vertices")
    made = fit(scene, toy_views(), params, optimizer=Adam(params, 1e-2), steps=4, watcher=watcher and watcher(scene))
    return made.losses[:, 1], scene["ball"].vertices.numpy()


def test_a_fit_that_is_watched_is_the_same_fit(scene, monkeypatch):
    """Every channel, gradient images too, is drawn between its steps: losses and result are equal to the bit."""
    windowed = []

    def watched(scene):
        windowed.append(Screenless(scene))
        live = LiveFit(Watcher(), lambda: windowed[0])  # type: ignore[arg-type]
        monkeypatch.setattr(live.pace, "due", lambda: True)
        return live

    for found, wanted in zip(fitted(watched), fitted(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert windowed[0].drawn == 6
    assert windowed[0].curve.number == 4
    assert not windowed[0].state.fitting


def test_the_windows_own_pixels(scene):
    """GGUI draws into its own memory what the drawer drew, with the panel beside it."""
    if not vulkan_is_there():
        pytest.skip("no Vulkan device on this machine (Debian: mesa-vulkan-drivers libvulkan1)")
    shown = windows.Window(scene, State.of(scene), 96, 128, shown=False)
    for _ in range(3):
        shown.frame()
    pixels = blank(96, 128)
    Drawer(scene).draw(State.of(scene), pixels, 96, 128)
    found = shown.image().astype(int)
    assert found.shape == (128, 96 + windows.PANEL_PIXELS, 3)
    assert np.abs(found[:, :95] - to_bytes(pixels)[:, :95]).max() <= 1
    panel = found[:, 100:]
    assert (panel.max((0, 1)) > 200).all()  # letters
    shown.state.toggle("panel")
    shown.frame()
    assert np.abs(shown.image().astype(int) - found)[:, 100:].any()
    shown.close()
    assert not shown.open


def test_pictures_are_written_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 1 << 24, (5, 7)).astype(np.uint32)
    write_png(tmp_path / "a.png", pixels)
    from PIL import Image

    levels = np.asarray(Image.open(tmp_path / "a.png"))
    for x, y, shift in ((0, 0, 0), (4, 6, 8), (2, 3, 16)):
        assert levels[6 - y, x, shift // 8] == pixels[x, y] >> shift & 255
