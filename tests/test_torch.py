"""Every renderer as a function of torch: gradients in 64 bits, pictures in flight, and what it refuses."""

import numpy as np
import pytest

import tidr
from tidr.errors import GradientError, SceneError
from tidr.scene.voxels import VoxelGrid, cell_centers

torch = pytest.importorskip("torch")

from tidr.torch import render  # noqa: E402

from .hybrid_scenes import mixed, only  # noqa: E402
from .photon_stage import camera, stage  # noqa: E402
from .test_readme import block  # noqa: E402

SMOOTH = {"alpha_skip": 0, "transmittance_stop": 0, "alpha_max": 0.9999, "sigmas": 30}  # Gaussians without a jump
SPHERES = tidr.PointRenderer(splat="sphere", gamma=0.3, depth_range=(1, 6))
LIGHT = {"independent_gradient": False, "max_depth": 4, "roulette_depth": 99, "aimed": 0.0}


def points() -> tidr.Scene:
    rng, scene = np.random.default_rng(0), only(mixed(size=(7, 6)))
    colors, radii, opacities = rng.uniform(0.1, 0.9, (6, 3)), rng.uniform(0.3, 0.6, 6), rng.uniform(0.3, 0.9, 6)
    cloud = tidr.PointCloud(rng.normal(size=(6, 3)) * 0.4, colors, None, radii, opacities)
    scene.add_node("dots", tidr.Node(cloud))
    return scene


def grid(kind: str) -> tidr.Scene:
    """A bumpy ball on a grid: "occupancy", "sdf" or "neus"."""
    scene, rng = only(mixed(size=(7, 6))), np.random.default_rng(0)
    values = np.linalg.norm(cell_centers((6, 7, 5)), axis=-1) - 0.7 + 0.05 * rng.normal(size=(6, 7, 5))
    colors = rng.uniform(0.2, 0.8, (6, 7, 5, 3))
    made = {
        "occupancy": lambda: VoxelGrid(occupancy=0.5 - 0.4 * np.tanh(3 * values), color=colors),
        "sdf": lambda: VoxelGrid(sdf=values, color=colors),
        "neus": lambda: tidr.NeusGrid(values, colors, 12.0),
    }
    scene.add_node("ball", tidr.Node(made[kind]()))
    return scene


CASES = {
    "raster": (lambda: only(mixed(), "sheet"), tidr.Rasterizer(edges="antialias"), ("sheet.vertices", "paint.albedo")),
    "soft": (lambda: only(mixed(), "sheet"), tidr.Rasterizer(edges="soft", sigma=1e-2), ("sheet.vertices",)),
    "volume": (lambda: only(mixed(), "cloud"), tidr.VolumeRenderer(steps=24), ("cloud.density", "front.position")),
    "voxels": (lambda: grid("occupancy"), tidr.VoxelRenderer(), ("ball.occupancy", "ball.color")),
    "level_set": (lambda: grid("sdf"), tidr.LevelSetRenderer(), ("ball.sdf", "sun.irradiance")),
    "neus": (lambda: grid("neus"), tidr.NeusRenderer(steps=24), ("ball.sdf", "ball.log_inverse_std")),
    "gaussian3d": (lambda: only(mixed(), "beads"), tidr.PointRenderer(**SMOOTH), ("beads.means", "beads.rotations")),
    "sphere": (
        points,
        tidr.PointRenderer(splat="sphere", gamma=0.3, depth_range=(1, 6)),
        ("dots.positions", "dots.radii"),
    ),
    "hybrid": (mixed, tidr.HybridRenderer(**SMOOTH), ("sheet.vertices", "cloud.density", "beads.means")),
    "path": (
        lambda: stage(bulb=4.0),
        tidr.PathTracer(samples=2, max_depth=3, independent_gradient=False),
        ("bulb.intensity", "red.albedo"),
    ),
    "photons": (
        lambda: stage(bulb=4.0),
        tidr.PhotonMapper(photons=1000, passes=1, radius=0.5, **LIGHT),
        ("bulb.intensity", "red.albedo"),
    ),
    "light_tracing": (
        lambda: stage(bulb=4.0),
        tidr.LightTracer(particles=500, **LIGHT),
        ("bulb.intensity", "red.albedo"),
    ),
}


@pytest.mark.row(175)
@pytest.mark.parametrize("name", CASES)
def test_every_renderer_passes_torchs_own_check(f64, name):
    make, renderer, paths = CASES[name]
    scene = make()
    view = next(iter(scene.cameras)) if scene.cameras else camera()
    values = [torch.tensor(scene.parameters()[path].numpy(), requires_grad=True) for path in paths]

    def picture(*tensors):
        return render(scene, view, dict(zip(paths, tensors, strict=True)), renderer, 7, 6)

    plain = tidr.render(scene, view, renderer, 7, 6).rgb.numpy()
    drawn = picture(*values)
    assert np.array_equal(drawn.detach().numpy(), plain)
    found = torch.autograd.grad(drawn.square().sum(), values)
    assert all(one.abs().max() > 1e-6 for one in found)
    assert torch.autograd.gradcheck(picture, values, eps=1e-6, atol=1e-7, rtol=1e-4, fast_mode=True)


def sheet() -> tuple[tidr.Scene, np.ndarray]:
    scene = only(mixed(), "sheet")
    return scene, scene["sheet"].vertices.numpy()


def test_pictures_in_flight_keep_their_own_values(f64):
    """Four graphs over one scene, pulled back in another order than they were drawn in."""
    scene, vertices = sheet()
    drawn = []
    for k in range(4):
        moved = torch.tensor(vertices + 0.1 * k, requires_grad=True)
        paint = torch.tensor([0.1 * k, 0.5, 0.2], requires_grad=k % 2 == 0, dtype=torch.float64)
        tensors = {"sheet.vertices": moved, "paint.albedo": paint}
        drawn.append((moved, paint, render(scene, "front", tensors)))
        alone = [one.detach().clone().requires_grad_() for one in (moved, paint)]
        render(scene, "front", dict(zip(tensors, alone, strict=True))).square().sum().backward()
        drawn[-1] += tuple(one.grad for one in alone)
    for moved, paint, picture, to_vertices, to_paint in reversed(drawn):
        picture.square().sum().backward()
        assert torch.equal(moved.grad, to_vertices)
        assert moved.grad.abs().max() > 0
        assert torch.equal(paint.grad, to_paint) if paint.requires_grad else paint.grad is None


def test_one_graph_may_hold_two_pictures_of_a_scene(f64):
    scene, vertices = sheet()

    def both(value, paint):
        first = render(scene, "front", {"sheet.vertices": value, "paint.albedo": paint})
        shifted = {"sheet.vertices": 0.9 * value + first.mean(), "paint.albedo": paint}
        return first * render(scene, "front", shifted, tidr.Rasterizer(edges="antialias"))

    paint = scene.parameters()["paint.albedo"].numpy()
    values = [torch.tensor(value, requires_grad=True) for value in (vertices, paint)]
    assert torch.autograd.gradcheck(both, values, eps=1e-6, atol=1e-7, rtol=1e-4, fast_mode=True)


def test_the_scene_stays_as_it_was(f64):
    scene, vertices = sheet()
    other = torch.tensor(vertices + 0.2, requires_grad=True)
    before = tidr.render(scene, "front").rgb.numpy()
    scene["sheet"].vertices.set_grad(np.ones((3, 3)))
    image = render(scene, "front", {"sheet.vertices": other})
    image.sum().backward()
    with pytest.raises(SceneError, match="depth"):
        render(scene, "front", {"sheet.vertices": other}, channels="depths")
    assert not np.array_equal(image.detach().numpy(), before)
    assert np.array_equal(scene["sheet"].vertices.numpy(), vertices)
    assert np.array_equal(scene["sheet"].vertices.grad_numpy(), np.ones((3, 3)))
    assert np.array_equal(tidr.render(scene, "front").rgb.numpy(), before)


def test_what_is_not_asked_for_costs_no_backward(f64, monkeypatch):
    scene, vertices = sheet()
    asked = []
    monkeypatch.setattr("tidr.torch.Tape", lambda parameters: asked.append(list(parameters)) or tidr.Tape(parameters))
    still, moving = torch.tensor(vertices), torch.tensor([0.2, 0.5, 0.2], dtype=torch.float64, requires_grad=True)
    image = render(scene, "front", {"sheet.vertices": still})
    assert not image.requires_grad
    assert not render(scene, "front", {}).requires_grad
    render(scene, "front", {"sheet.vertices": still, "paint.albedo": moving}).sum().backward()
    assert asked == [["paint.albedo"]]


def test_channels_and_batches(f64):
    scene, vertices = sheet()
    names = ("rgb", "depth", "ids")
    other = tidr.Camera.look_at((0, 0.2, 3), (0, 0, 0), fov_y_degrees=40, width=7, height=6)
    value = torch.tensor(vertices, requires_grad=True)
    renderer = tidr.Rasterizer(channels=("rgb", "depth"))
    rgb, depth, ids = render(scene, ["front", other], {"sheet.vertices": value}, renderer, channels=names)
    plain = tidr.render(scene, ["front", other], tidr.Rasterizer())
    assert rgb.shape == (2, 6, 7, 3)
    for drawn, name in ((rgb, "rgb"), (depth, "depth"), (ids, "ids")):
        assert np.array_equal(drawn.detach().numpy(), plain.channel(name).numpy())
    assert depth.requires_grad
    assert not ids.requires_grad
    (to_depth,) = torch.autograd.grad(depth.sum(), value, retain_graph=True)
    (to_rgb,) = torch.autograd.grad(rgb.sum(), value, retain_graph=True)
    (to_both,) = torch.autograd.grad(rgb.sum() + 2 * depth.sum(), value)
    assert torch.allclose(to_both, to_rgb + 2 * to_depth, rtol=1e-12)


def test_what_the_picture_does_not_show_has_a_gradient_of_zero(f64):
    scene, vertices = sheet()
    disc = torch.ones((), dtype=torch.float64, requires_grad=True)
    value = torch.tensor(vertices, requires_grad=True)
    for _ in range(3):  # memory that was used before
        render(scene, "front", {"sun.angular_diameter": disc, "sheet.vertices": value}).sum().backward()
    assert disc.grad == 0
    assert value.grad.any()


def test_a_scene_that_changed_is_refused(f64):
    scene, vertices = sheet()
    own = tidr.Camera.look_at((0, 0.2, 3), (0, 0, 0), fov_y_degrees=40, width=7, height=6)
    changes = {
        "sheet.vertices": lambda: scene["sheet"].vertices.set(vertices + 1),
        "camera 0.position": lambda: own.position.set([0, 0.3, 3]),
        "extra.intensity": lambda: scene.add_light("extra", tidr.PointLight((0, 1, 2), 3.0)),
    }
    for path, change in changes.items():
        value = torch.tensor(vertices, requires_grad=True)
        image = render(scene, own, {"sheet.vertices": value})
        change()
        with pytest.raises(SceneError, match=f"{path}: was changed between the render and its backward"):
            image.sum().backward()


def test_wrong_tensors_are_named(f64):
    scene, vertices = sheet()
    value = torch.tensor(vertices)
    fixed = scene["sheet"].scale
    fixed.constraint = tidr.Constraint(fixed=True)
    wrong = [
        ({"sheet.vertexes": value}, "sheet.vertexes: no such parameter .did you mean 'sheet.vertices'"),
        ({"sheet.vertices": vertices}, "sheet.vertices: got ndarray, expected a torch.Tensor"),
        ({"sheet.vertices": value[:2]}, r"sheet.vertices: the tensor has shape \(2, 3\), expected \(3, 3\)"),
        ({"sheet.vertices": value.float()}, "sheet.vertices: the tensor is torch.float32, tidr computes in torch.f"),
        ({"sheet.vertices": value / 0}, "sheet.vertices: the tensor holds a value that is not finite"),
        ({"sheet.scale": torch.ones((), dtype=torch.float64, requires_grad=True)}, "sheet.scale: is fixed"),
        ({"sheet.vertices": value, "sheet.translation": value[0].to("meta")}, "translation: the tensor is on meta"),
    ]  # fmt: skip
    for tensors, message in wrong:
        with pytest.raises(SceneError, match=message):
            render(scene, "front", tensors)
    with pytest.raises(SceneError, match="each once"):
        render(scene, "front", {}, channels=("rgb", "rgb"))
    with pytest.raises(GradientError, match=r"a tidr\.Tape is open"), tidr.Tape():
        render(scene, "front", {"sheet.vertices": value})


@pytest.mark.row(175)
def test_weights_go_to_torch_and_back_by_npz(f32, tmp_path):
    """Read by numpy from the file beside the scene, trained by torch, drawn by tidr."""
    scene = only(mixed(size=(7, 6)))
    field = tidr.FrequencyField(width=16, depth=2, octaves=3, direction_octaves=1, fine_samples=8)
    scene.add_node("field", tidr.Node(field))
    tidr.write_scene(scene, tmp_path / "scene.toml")
    (file,) = tmp_path.glob("*.npz")
    weights = {f"field.{name}": torch.from_numpy(array) for name, array in np.load(file).items() if array.ndim}
    known = scene.parameters("field.*")
    weights = {path: array.float().requires_grad_() for path, array in weights.items() if path in known}
    renderer = tidr.VolumeRenderer(steps=16)
    target = torch.full((6, 7, 3), 0.7)
    optimizer, losses = torch.optim.Adam(weights.values(), lr=0.02), []
    for _ in range(15):
        optimizer.zero_grad()
        loss = (render(scene, "front", weights, renderer) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(
        np.square(tidr.render(scene, "front", renderer).rgb.numpy() - 0.7).mean(), rel=1e-4
    )
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.row(3)
def test_a_network_learns_shapes_through_the_renderer(f32):
    """From one picture each; shapes that it was never shown."""
    from .examples.image_to_shape import train

    before, after = train(150)
    assert before < 0.6
    assert after > 0.8


@pytest.mark.row(175)
def test_the_readmes_example_brings_the_cube_back(f32):
    space: dict = {}
    exec(compile(block("torch"), "README example", "exec"), space)
    assert space["place"].detach().abs().max() < 0.02
