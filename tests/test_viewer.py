"""What a user of the viewer does, without a window: keys, cameras, sliders, the panel, and the pace beside a fit."""

from contextlib import contextmanager

import numpy as np
import pytest

import tidr
from tests.fit_toys import toy_scene
from tidr.errors import SceneError
from tidr.fitting.interrupts import Interrupts
from tidr.fitting.loop import Watcher
from tidr.parameter import Constraint, Parameter
from tidr.scene.transform import rotation_from_quaternion
from tidr.viewer.curve import LINE, LONGEST, Curve
from tidr.viewer.edits import Sliders
from tidr.viewer.live import SHARE, LiveFit, Pace
from tidr.viewer.orbit import Orbit, camera_like, cameras_of, extent
from tidr.viewer.panel import Panel
from tidr.viewer.renderers import TREATMENTS, Choice, choices
from tidr.viewer.state import KEYS, MOVES, State


@pytest.fixture(scope="module")
def scene():
    tidr.init("cpu")
    made = toy_scene()
    made.add_camera("front", tidr.Camera.look_at((1, 1, 3), (0, 0.1, 0), fov_y_degrees=40, width=40, height=20))
    made.add_camera("side", tidr.Camera.look_at((3, 0, 0), (0, 0, 0), height_world=2.5, width=40, height=20))
    return made


def pixels_of(orbit: Orbit, point, width: int = 40, height: int = 20) -> np.ndarray:
    """Where a point (world) is drawn: column, row."""
    camera = camera_like(orbit.lens)
    orbit.place(camera, width, height)
    x = camera.projection(width, height)[0] @ np.append(point, 1)
    return x[:2] / x[2]


@pytest.mark.parametrize("name", ["front", "side"])
def test_the_first_view_is_the_cameras_own(scene, name):
    lens = scene.cameras[name]
    orbit, camera = Orbit(lens, *extent(scene)), camera_like(lens)
    orbit.place(camera, 80, 40)
    for found, wanted in zip(camera.projection(80, 40), lens.projection(80, 40), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_a_window_of_another_shape_shows_more_on_both_sides(scene):
    orbit = Orbit(scene.cameras["front"], *extent(scene))
    narrow, wide = pixels_of(orbit, (0.3, 0.5, 0)), pixels_of(orbit, (0.3, 0.5, 0), width=100)
    np.testing.assert_allclose(wide - narrow, [30, 0], atol=1e-3)
    np.testing.assert_allclose(pixels_of(orbit, (0.3, 0.5, 0), height=60) - narrow, [0, 20], atol=1e-3)


def test_turning_keeps_the_pivot_in_its_place_and_the_horizon_level(scene):
    orbit = Orbit(scene.cameras["front"], *extent(scene))
    before, start = pixels_of(orbit, orbit.pivot), orbit.position
    rng = np.random.default_rng(0)
    for right, up in rng.uniform(-1, 1, (40, 2)):
        orbit.turn(right, up)
        np.testing.assert_allclose(pixels_of(orbit, orbit.pivot), before, atol=1e-3)
        assert abs(orbit.rotation[1, 0]) < 1e-9
        assert orbit.rotation[1, 1] > 0
    orbit = Orbit(scene.cameras["front"], *extent(scene))
    for _ in range(4):
        orbit.turn(np.pi / 2, 0)
    np.testing.assert_allclose(orbit.position, start, atol=1e-9)


def test_what_is_dragged_follows_the_hand(scene):
    orbit = Orbit(scene.cameras["front"], *extent(scene))
    near = orbit.pivot + 0.05 * orbit.rotation[:, 2]
    before = pixels_of(orbit, near)
    orbit.turn(0.02, 0.01)
    assert (np.sign(pixels_of(orbit, near) - before) == [1, -1]).all()
    for name in ("front", "side"):
        orbit = Orbit(scene.cameras[name], *extent(scene))
        place, before = orbit.pivot.copy(), pixels_of(orbit, orbit.pivot)
        orbit.pan(0.2, -0.1)
        np.testing.assert_allclose(pixels_of(orbit, place) - before, [0.2 * 20, 0.1 * 20], atol=1e-3)


def test_flying_turns_the_head_where_it_is(scene):
    orbit = Orbit(scene.cameras["front"], *extent(scene))
    orbit.fly, start = True, orbit.position
    ahead = start - orbit.rotation[:, 2]
    before = pixels_of(orbit, ahead)
    orbit.turn(0.1, 0.1)
    np.testing.assert_allclose(orbit.position, start, atol=1e-12)
    assert (np.sign(pixels_of(orbit, ahead) - before) == [-1, 1]).all()  # what was ahead is left, and below
    orbit.walk(0, 0, 0.5)
    np.testing.assert_allclose(orbit.position, start - 0.5 * orbit.distance * orbit.rotation[:, 2], atol=1e-12)


@pytest.mark.parametrize("name", ["front", "side"])
def test_zooming_makes_it_larger(scene, name):
    orbit = Orbit(scene.cameras[name], *extent(scene))
    aside = orbit.pivot + 0.1 * orbit.rotation[:, 0]
    before = pixels_of(orbit, aside) - pixels_of(orbit, orbit.pivot)
    orbit.zoom(2.0)
    np.testing.assert_allclose(pixels_of(orbit, aside) - pixels_of(orbit, orbit.pivot), 2 * before, atol=1e-3)
    orbit.zoom(1e30)
    assert orbit.distance > 0


def test_a_scene_without_cameras_is_seen_whole():
    made = toy_scene()
    (camera,) = cameras_of(made).values()
    centre, radius = extent(made)
    assert radius > 0.9
    pixels = pixels_of(Orbit(camera, centre, radius), (0, 0.91, 0), 32, 32)
    assert (pixels > 0).all()
    assert (pixels < 32).all()


def test_every_key_changes_what_it_says(scene):
    for key in (*KEYS, *MOVES):
        state = State.of(scene)
        state.fitting, paths = True, scene.parameters()
        before = (repr(state), state.orbit.key(), state.orbit.fly)
        if key == "h":  # back from somewhere
            state.orbit.turn(1, 0)
            moved = state.orbit.key()
            assert state.press(key, paths)
            assert state.orbit.key() != moved
            continue
        assert state.press(key, paths)
        assert (repr(state), state.orbit.key(), state.orbit.fly) != before, key
    assert not state.press("F12", paths)


def test_renderers_and_treatments_come_round_and_the_fits_own_come_first(scene):
    state = State.of(scene, options={"type": "raster", "edges": "soft", "sigma": 1e-4})
    assert (state.choice.name, state.choice.treatments[state.treatment]) == ("raster", "soft")
    assert state.choice.made(state.treatment, "rgb").sigma == 1e-4
    assert state.choice.made(0, "depth").channels == ()
    seen = []
    for _ in state.renderers:
        seen.append(state.choice.name)
        assert state.detail == (4 if state.choice.name in ("path", "photons", "light_tracing") else 1)
        state.next_renderer()
    assert state.choice.name == "raster" == seen[0]
    assert len(set(seen)) == len(seen) == len(choices(scene))
    state.treat("none")
    with pytest.raises(SceneError, match="has no 'crisp'"):
        state.treat("crisp")
    with pytest.raises(SceneError, match="unknown type 'rester'"):
        State.of(scene, "rester")
    with pytest.raises(SceneError, match="did you mean 'front'"):
        State.of(scene, camera="frunt")


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_is_one_of_its_renderer(name):
    choice = Choice(name)
    for number, treatment in enumerate(choice.treatments):
        assert getattr(choice.made(number, "rgb"), choice.option) == treatment
    assert getattr(choice.made(choice.begun, "rgb"), choice.option) == choice.treatments[choice.begun]


def test_parameters_are_listed_by_their_owner(scene):
    state, paths = State.of(scene), scene.parameters()
    assert state.listed(paths) == list(paths)
    state.press("g", paths)
    assert state.listed(paths) == [path for path in paths if path.startswith("ball.")]
    assert state.path == "ball.vertices"
    state.press("BackSpace", paths)
    assert state.path == state.listed(paths)[-1]
    state.press("Tab", paths)
    assert state.path == "ball.vertices"


def test_a_paused_fit_takes_the_steps_that_it_is_given(scene):
    state, paths = State.of(scene), scene.parameters()
    state.press(" ", paths)
    assert not state.paused  # no fit runs
    state.fitting = True
    assert state.takes_step()
    state.press(" ", paths)
    assert not state.takes_step()
    state.press("n", paths)
    state.press("n", paths)
    assert [state.takes_step() for _ in range(3)] == [True, True, False]
    state.press(" ", paths)
    assert state.takes_step()
    state.press("n", paths)  # a running one takes one more and waits
    assert [state.takes_step() for _ in range(2)] == [True, False]


def test_a_slider_moves_all_rows_or_one():
    parameter = Parameter(np.arange(6.0).reshape(3, 2))
    sliders = Sliders(parameter)
    np.testing.assert_allclose(sliders.values(), [2, 3])
    low, high = sliders.low.copy(), sliders.high.copy()
    sliders.move(1, 5.0)
    np.testing.assert_allclose(parameter.numpy(), [[0, 3], [2, 5], [4, 7]])
    one = Sliders(parameter, row=2)
    one.move(0, -1.0)
    np.testing.assert_allclose(parameter.numpy(), [[0, 3], [2, 5], [-1, 7]])
    np.testing.assert_array_equal((sliders.low, sliders.high), (low, high))
    sliders.centre_ranges()
    assert sliders.low[1] < 5 < sliders.high[1]
    assert sliders.high[1] > high[1]
    sliders.undo()
    np.testing.assert_allclose(parameter.numpy(), [[0, 1], [2, 3], [4, 5]])


def test_sliders_keep_constraints():
    colour = Parameter([[0.2, 0.9, 0.5], [0.4, 0.8, 0.5]], Constraint(clamp=(0.0, 1.0)))
    sliders = Sliders(colour)
    np.testing.assert_array_equal((sliders.low, sliders.high), ([0] * 3, [1] * 3))
    sliders.move(1, 0.95)  # 0.1 more: one row is cut
    np.testing.assert_allclose(colour.numpy()[:, 1], [1.0, 0.9], atol=1e-6)
    unit = Parameter([1.0, 0, 0, 0], Constraint(unit=True))
    Sliders(unit).move(1, 1.0)
    np.testing.assert_allclose(unit.numpy(), np.array([1, 1, 0, 0]) / np.sqrt(2), atol=1e-6)
    positive = Parameter(2.0, Constraint(positive=True))
    Sliders(positive).move(0, -3.0)
    assert 0 < positive.numpy() < 1e-5
    shares = Parameter([[0.5, 0.5]], Constraint(simplex=True))
    Sliders(shares).move(0, 1.5)
    np.testing.assert_allclose(shares.numpy(), [[0.75, 0.25]], atol=1e-6)
    fixed = Parameter([1.0], Constraint(fixed=True))
    Sliders(fixed).move(0, 3.0)
    assert fixed.numpy() == 1.0


class Widgets:
    """GGUI's widgets, by hand: `clicked` is pressed, `slid` maps the start of a label to where its slider goes."""

    def __init__(self, clicked: str = "", slid: dict | None = None) -> None:
        self.clicked, self.slid, self.texts, self.buttons = clicked, slid or {}, [], []

    def text(self, text, color=None):
        self.texts.append(text)

    def button(self, text):
        self.buttons.append(text)
        return bool(self.clicked) and text.startswith(self.clicked)

    def checkbox(self, text, value):
        return not value if self.clicked and text.startswith(self.clicked) else value

    def slider_float(self, text, value, low, high):
        assert low <= high
        found = [to for name, to in self.slid.items() if text.startswith(name)]
        return float(np.float32(found[0] if found else value))

    slider_int = slider_float

    @contextmanager
    def sub_window(self, *place):
        yield self


def drawn(panel: Panel, scene, state: State, **does) -> Widgets:
    gui = Widgets(**does)
    panel.draw(gui, state, scene.parameters(), Curve(), ["a line"])
    return gui


def test_what_is_clicked_in_the_panel_happens(scene):
    for click in ("renderer", "edges", "shown", "camera", "fly", "spin", "pause", "one step", "parameters of"):
        panel, state = Panel(), State.of(scene)
        state.fitting = True
        before = (repr(state), state.orbit.key(), state.orbit.fly)
        drawn(panel, scene, state, clicked=click)
        assert (repr(state), state.orbit.key(), state.orbit.fly) != before, click
    state.message = "such a fault"
    assert {"a line", "such a fault"} <= set(drawn(panel, scene, state).texts)
    state.help = True
    assert any(KEYS["r"][0] in line for line in drawn(panel, scene, state).texts)


def test_sliders_in_the_panel_edit_the_scene(scene):
    panel, state, albedo = Panel(), State.of(scene), scene["paint"].parameters()["albedo"]
    drawn(panel, scene, state, clicked="paint.albedo")
    assert state.path == "paint.albedo"
    before, version = albedo.numpy(), albedo.version
    drawn(panel, scene, state)
    assert albedo.version == version  # nothing moved, nothing set
    drawn(panel, scene, state, slid={"[1]": 0.7, "stops": 2.0, "gradient of": 2})
    np.testing.assert_allclose(albedo.numpy(), [before[0], 0.7, before[2]], atol=1e-6)
    assert (state.exposure, state.entry) == (2.0, 2)
    state.press("u", scene.parameters())
    drawn(panel, scene, state)
    np.testing.assert_array_equal(albedo.numpy(), before)
    state.choose("ball.vertices")
    drawn(panel, scene, state, slid={"row": 5})
    assert state.row == 5
    drawn(panel, scene, state)
    assert panel.sliders.row == 5


def test_the_curve_falls_and_stays_small():
    curve, pixels = Curve(), np.zeros((50, 30), np.uint32)
    for step in range(20_000):
        curve.add(step, 10.0 * 0.9995**step)
    assert len(curve.losses) <= LONGEST
    assert curve.best == curve.last
    assert curve.draw(pixels)
    assert not curve.draw(pixels)
    rows = [np.flatnonzero(column == LINE).mean() for column in pixels]
    assert (np.diff(rows) <= 0).all()
    assert rows[0] > 25
    assert rows[-1] < 3
    curve.add(20_000, float("nan"))
    assert curve.best < 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("step", "draw"), [(0.004, 0.05), (0.2, 0.05), (2.0, 0.01)])
def test_drawing_takes_its_share_of_a_fits_time_at_most(step, draw):
    clock = Clock()
    pace, drawing, frames = Pace(clock=clock), 0.0, 0
    for _ in range(4000):
        clock.now += step
        if pace.due():
            cost = 3.0 if frames == 3 else draw  # another renderer compiles
            clock.now += cost
            pace.drew(cost)
            drawing, frames = drawing + draw, frames + 1
    assert drawing / clock.now <= SHARE + 1e-9
    assert frames > 15
    if draw < SHARE * step:
        assert frames == 4000


class Frames:
    """A window's part in a fit, scripted: `frame` calls `does` with the number of the frame."""

    def __init__(self, state: State, does=lambda frame: None) -> None:
        self.state, self.curve, self.note, self.open, self.count, self.does = state, Curve(), "", True, 0, does

    def frame(self) -> bool:
        self.count += 1
        self.does(self.count)
        self.open = not self.state.closed
        return True


def test_a_pause_holds_the_fit_until_it_is_let_go(scene, monkeypatch):
    monkeypatch.setattr("tidr.viewer.live.PAUSED_SECONDS", 0.0)
    paths, said = scene.parameters(), []

    class Inner(Watcher):
        def say(self, text):
            said.append(text)

    script = {3: " ", 5: "n", 9: " ", 10: "Escape"}
    window = Frames(State.of(scene), lambda frame: frame in script and window.state.press(script[frame], paths))
    live = LiveFit(Inner(), lambda: window, Pace(share=1.0))
    live.start(0, 9)
    assert window.state.fitting
    assert window.count == 2
    live.step(1, 1.0, None)
    assert window.count == 5  # held from frame 3 on; at 5 one more step is asked for, which goes on
    live.step(2, 0.5, None)
    assert window.count == 9
    live.step(3, 0.4, None)
    assert (window.count, said) == (10, ["the window is closed; the fit goes on"])
    live.step(4, 0.3, None)
    assert window.count == 10
    assert window.curve.losses == [1.0, 0.5, 0.4]


def test_a_signal_ends_a_pause(scene, monkeypatch):
    monkeypatch.setattr("tidr.viewer.live.PAUSED_SECONDS", 0.0)
    interrupts = Interrupts()
    window = Frames(State.of(scene), lambda frame: interrupts._note(2, None) if frame == 7 else None)
    live = LiveFit(Watcher(), lambda: window)
    live.interrupts = interrupts
    live.start(0, 9)
    window.state.toggle_pause()
    live.step(1, 1.0, None)
    assert window.count == 7


def test_rotations_stay_rotations(scene):
    orbit = Orbit(scene.cameras["front"], *extent(scene))
    for _ in range(2000):
        orbit.turn(0.1, 0.003)
    np.testing.assert_allclose(orbit.rotation @ orbit.rotation.T, np.eye(3), atol=1e-12)
    camera = camera_like(orbit.lens)
    orbit.place(camera, 8, 8)
    np.testing.assert_allclose(rotation_from_quaternion(camera.rotation.host()), orbit.rotation, atol=1e-6)
