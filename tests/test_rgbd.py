"""RGBD pictures: depth files, points and meshes from them, nodes of scene files."""

import numpy as np
import pytest

import tidr
from tidr.errors import FileError, SceneError
from tidr.files.depth import read_depth, write_depth
from tidr.files.image import write_image
from tidr.problems.depth import bumpy
from tidr.scene.rgbd import back_project, depth_mesh, depth_normals, depth_points

WIDTH, HEIGHT = 40, 30


def lens(kind: str = "perspective") -> tidr.Camera:
    view = {"fov_y_degrees": 50} if kind == "perspective" else {"height_world": 2.5}
    camera = tidr.Camera.look_at((0.3, 0.5, 3), (0, 0.1, 0), width=WIDTH, height=HEIGHT, **view)
    camera.principal_point.set([19.2, 16.1])
    return camera


def ball_depth(camera: tidr.Camera, radius: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Depth [H, W] of a ball at the origin, 0 beside it, and the world points [H, W, 3] on it, by rays."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    (fx, fy), (cx, cy) = camera.focal.numpy().astype(float), camera.principal_point.numpy().astype(float)
    pose = camera.camera_to_world
    ray = np.stack([(columns - cx) / fx, -(rows - cy) / fy, -np.ones_like(rows)], -1) @ pose[:3, :3].T
    origin = pose[:3, 3]
    if camera.kind == "orthographic":
        origin = origin + ray + pose[:3, 2]
        ray = np.broadcast_to(-pose[:3, 2], ray.shape)
    a, b, c = (ray * ray).sum(-1), (ray * origin).sum(-1), (origin * origin).sum(-1) - radius**2
    root = b * b - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    return depth, origin + depth[..., None] * ray


# ---------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npy", ".npz"])
def test_a_depth_map_comes_back(suffix, tmp_path):
    depth = np.random.default_rng(0).uniform(0.5, 9, (5, 7)).astype(np.float32)
    depth[2, 3] = 0
    path = tmp_path / f"map{suffix}"
    write_depth(path, depth[..., None])
    found = read_depth(path)
    assert (found.shape, found.dtype) == ((5, 7), np.float32)
    assert found[2, 3] == 0
    assert np.abs(found - depth).max() <= (0.5001e-3 if suffix == ".png" else 0)


def test_levels_of_a_png_are_multiplied_by_their_size(tmp_path):
    """A height map of 0.2 mm a level, as a data set of 5000 levels a metre has it; nothing is lost in between."""
    levels = np.array([[0, 1, 255, 256], [4097, 30000, 65534, 65535]])
    write_depth(tmp_path / "map.png", levels / 5000, metres_per_level=1 / 5000)
    found = read_depth(tmp_path / "map.png", metres_per_level=1 / 5000)
    assert np.rint(found.astype(float) * 5000).astype(int).tolist() == levels.tolist()
    assert read_depth(tmp_path / "map.png", 1.0).tolist() == levels.tolist()


def test_eight_bits_are_levels_too(tmp_path):
    from PIL import Image

    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "map.png")
    assert read_depth(tmp_path / "map.png", 0.5).tolist() == (levels * 0.5).tolist()


def test_the_channel_z_of_an_exr_is_the_depth(tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    depth = np.random.default_rng(1).uniform(1, 2, (4, 5)).astype(np.float32)
    depth[1, 2] = np.inf  # what a renderer writes where it saw nothing
    channels = {"Z": depth, "RGB": np.zeros((4, 5, 3), np.float32)}
    openexr.File({"compression": openexr.ZIP_COMPRESSION}, channels).write(str(tmp_path / "both.exr"))
    found = read_depth(tmp_path / "both.exr")
    assert found[1, 2] == 0
    depth[1, 2] = 0
    assert found.tolist() == depth.tolist()
    openexr.File({"compression": openexr.ZIP_COMPRESSION}, {"RGB": channels["RGB"]}).write(str(tmp_path / "rgb.exr"))
    with pytest.raises(FileError, match="name the depth Z"):
        read_depth(tmp_path / "rgb.exr")


def test_maps_that_are_no_depths_are_refused(tmp_path):
    path = tmp_path / "map.npy"
    np.save(path, np.array([[1.0, -2.0], [np.nan, 1.0]]))
    with pytest.raises(FileError, match=r"\[0, 1\]"):
        read_depth(path)
    np.save(path, np.ones((2, 2, 3)))
    with pytest.raises(FileError, match="expected"):
        read_depth(path)
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    with pytest.raises(FileError, match="name the map"):
        read_depth(tmp_path / "two.npz")
    write_image(tmp_path / "color.png", np.ones((4, 4, 3)))
    with pytest.raises(FileError, match="colour picture"):
        read_depth(tmp_path / "color.png")
    with pytest.raises(FileError, match="unknown kind"):
        read_depth(tmp_path / "map.jpg")
    with pytest.raises(FileError, match="does not exist"):
        read_depth(tmp_path / "none.png")
    with pytest.raises(FileError, match="metres_per_level"):
        read_depth(path, 0)
    for values, message in (
        (np.full((2, 2), 70.0), "65535"),
        (np.full((2, 2), np.nan), "not finite"),
        (-np.ones((2, 2)), "0 or"),
    ):
        with pytest.raises(FileError, match=message):
            write_depth(tmp_path / "bad.png", values)
    assert not (tmp_path / "bad.png").exists()


# ------------------------------------------------------------------------------------------------- points and meshes


@pytest.mark.row(72)
@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
def test_points_lie_on_what_the_camera_saw(kind, f64):
    camera = lens(kind)
    depth, surface = ball_depth(camera)
    known = depth > 0
    points = back_project(depth, camera)
    assert np.abs(points - surface)[known].max() < 1e-9
    assert np.allclose(points[~known], camera.position.numpy())
    normals = depth_normals(depth, camera, jump=0.2)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1)
    outward = surface / 0.8
    turned = known & (outward @ camera.camera_to_world[:3, 2] > 0.7)  # towards the camera, where pixels are fine enough
    assert turned.sum() > 100
    assert ((normals * outward).sum(-1)[turned] > np.cos(np.radians(8))).all()


@pytest.mark.row(72)
def test_a_cloud_has_colours_normals_and_radii_of_a_pixel(f64):
    camera = lens()
    depth, _ = ball_depth(camera)
    known, color = depth > 0, np.random.default_rng(0).uniform(size=(HEIGHT, WIDTH, 3))
    cloud = depth_points(depth, camera, color)
    assert cloud.count == known.sum()
    assert None not in (cloud.colors, cloud.normals, cloud.radii)
    assert np.allclose(cloud.colors.numpy(), color[known])
    assert np.allclose(cloud.normals.numpy(), depth_normals(depth, camera)[known])
    focal = camera.focal.numpy()[0]
    assert np.allclose(cloud.radii.numpy()[:, 0], depth[known] / focal * np.sqrt(0.5))
    flat = depth_points(depth, lens("orthographic"))
    assert flat.colors is None
    assert np.ptp(flat.radii.numpy()) == 0


@pytest.mark.row(72)
def test_every_point_lands_in_the_pixel_that_it_came_from(f32):
    camera = lens()
    depth, _ = ball_depth(camera)
    color = np.random.default_rng(0).uniform(0.1, 0.9, (HEIGHT, WIDTH, 3))
    scene = tidr.Scene(tidr.Film(WIDTH, HEIGHT))
    scene.add_node("frame", tidr.Node(depth_points(depth, camera, color)))
    image = tidr.render(scene, camera, tidr.PointRenderer(splat="pixel"))
    assert (image.alpha.numpy()[..., 0] > 0).tolist() == (depth > 0).tolist()
    assert np.abs(image.depth.numpy()[..., 0] - depth).max() < 1e-4
    assert np.abs(image.rgb.numpy() - color)[depth > 0].max() < 1e-4


def test_a_height_map_goes_out_and_comes_back(tmp_path, f32):
    """Heights are depths of an orthographic camera that looks down: drawn, written in 0.1 mm, read, made a mesh."""
    ground = bumpy(half=1.0, count=60)
    scene = tidr.Scene()
    scene.add_node("ground", tidr.Node(ground))
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1.8, width=48, height=48)
    above = tidr.render(scene, camera, tidr.Rasterizer(edges="none", channels=("alpha",))).depth.numpy()
    write_depth(tmp_path / "height.png", above, metres_per_level=1e-4)
    mesh = depth_mesh(read_depth(tmp_path / "height.png", 1e-4), camera, jump=1.0)
    assert len(mesh.faces) == 2 * 47 * 47
    scene.nodes["ground"].geometry = mesh
    again = tidr.render(scene, camera, tidr.Rasterizer(edges="none", channels=("alpha",)))
    inside = again.alpha.numpy() > 0
    assert inside.mean() > 0.9
    assert np.abs(again.depth.numpy() - above)[inside].max() < 1e-4
    assert np.ptp(above) > 0.5


def test_points_are_as_dense_as_one_over_depth_squared(f64):
    """The pitfall: the same surface twice as far away has a quarter of the points a unit of area."""
    camera = tidr.Camera((0, 0, 0), (1, 0, 0, 0), (50, 50), (20, 15), WIDTH, HEIGHT)
    areas = [np.ptp(depth_points(np.full((HEIGHT, WIDTH), d), camera).positions.numpy(), axis=0) for d in (1.0, 2.0)]
    assert np.prod(areas[1][:2]) == pytest.approx(4 * np.prod(areas[0][:2]))


def test_a_flat_wall_has_its_normal_up_to_an_edge(f64):
    """A slanted plane in front of another: no normal is bent by the jump between them."""
    camera = tidr.Camera((0, 0, 0), (1, 0, 0, 0), (50, 50), (20, 15), WIDTH, HEIGHT)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    normal = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1])
    ray = np.stack([(columns - 20) / 50, -(rows - 15) / 50, -np.ones_like(rows)], -1)
    depth = np.where(columns < 20, -3.0, -2.0) / (ray @ normal)
    assert ((depth_normals(depth, camera) @ normal) > 1 - 1e-9).all()
    bent = depth_normals(depth, camera, jump=10.0) @ normal
    assert (bent[:, 18:22].min(1) < 0.9).all()


@pytest.mark.row(72)
@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
def test_triangles_across_an_edge_are_cut(kind, f64):
    camera = lens(kind)
    depth = np.full((HEIGHT, WIDTH), 2.0)
    depth[10:20, 12:25] = 1.5
    depth[3, 5] = 0
    mesh = depth_mesh(depth, camera)
    corners = mesh.vertices.numpy()[mesh.faces]
    away = (corners - camera.position.numpy()) @ -camera.camera_to_world[:3, 2]
    assert np.ptp(away, axis=1).max() < 1e-9  # every triangle lies on one of the two planes
    whole = 2 * (HEIGHT - 1) * (WIDTH - 1)
    ring = 11 * 14 - 9 * 12  # fours of pixels with both depths
    # At each of the ring's four corners one pixel of four is apart, so one triangle stays; likewise around the hole.
    assert len(mesh.faces) == whole - (2 * ring - 4) - 4
    stretched = depth_mesh(depth, camera, jump=np.inf)
    assert len(stretched.faces) == whole - 4
    # A vertex at every pixel with a depth that a triangle uses.
    assert len(mesh.vertices.numpy()) == HEIGHT * WIDTH - 1


@pytest.mark.row(72)
def test_a_depth_mesh_shows_its_picture_to_its_camera(f32):
    """Triangles face the camera; drawn from where it was taken, the mesh gives back depth and colour."""
    camera = lens()
    depth, _ = ball_depth(camera)
    depth = np.where(depth > 0, depth, 4.5)
    color = np.random.default_rng(0).uniform(0.1, 0.9, (HEIGHT, WIDTH, 3))
    scene = tidr.Scene(tidr.Film(WIDTH, HEIGHT))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_light("white", tidr.AmbientLight(1.0))
    mesh = depth_mesh(depth, camera, color)
    scene.add_node("frame", tidr.Node(mesh, ("paint",)))
    image = tidr.render(scene, camera, tidr.Rasterizer(edges="none", cull_back=True))
    drawn = image.alpha.numpy()[..., 0] > 0
    assert drawn.mean() > 0.75
    assert np.abs(image.depth.numpy()[..., 0] - depth)[drawn].max() < 1e-3
    assert np.abs(image.rgb.numpy() - color)[drawn].max() < 5e-3
    uv = image.uv.numpy()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert np.abs(np.stack([columns / WIDTH, 1 - rows / HEIGHT], -1) - uv)[drawn].max() < 1e-3


def test_depths_that_cannot_be_used_are_refused(f64):
    camera = lens()
    good = np.full((HEIGHT, WIDTH), 2.0)
    bad = good.copy()
    bad[4, 7] = -1
    for make in (back_project, depth_points, depth_mesh):
        with pytest.raises(SceneError, match=r"\[4, 7\]"):
            make(bad, camera)
        with pytest.raises(SceneError, match="expected"):
            make(np.ones((2, 3, 4)), camera)
    with pytest.raises(SceneError, match="color"):
        depth_points(good, camera, np.ones((3, 4, 3)))
    with pytest.raises(SceneError, match="0 everywhere"):
        depth_points(0 * good, camera)
    with pytest.raises(SceneError, match="no triangle"):
        depth_mesh(0 * good, camera)
    with pytest.raises(SceneError, match="jump"):
        depth_mesh(good, camera, jump=0)
    with pytest.raises(SceneError, match="2 x 2"):
        depth_mesh(good[:1], camera)


# ------------------------------------------------------------------------------------------------------ scene files


def written(folder, rgbd: str, more: str = ""):
    """A scene with an RGBD node whose pictures show a ball."""
    depth, _ = ball_depth(lens())
    write_depth(folder / "depth.png", depth)
    write_image(folder / "color.png", np.full((2 * HEIGHT, 2 * WIDTH, 3), 0.25))
    write_image(folder / "tall.png", np.full((WIDTH, HEIGHT, 3), 0.25))
    path = folder / "scene.toml"
    table = ", ".join(item for item in ('depth = "depth.png"', rgbd) if item)
    path.write_text(f"[nodes.frame]\nrgbd = {{ {table} }}\ntranslation = [0, 1, 0]\n{more}")
    return path, depth


@pytest.mark.parametrize("shape", ["mesh", "points"])
def test_a_node_of_a_scene_file_holds_rgbd(shape, tmp_path, f32):
    path, depth = written(tmp_path, f'color = "color.png", focal = 32, principal_point = [19, 16], shape = "{shape}"')
    scene = tidr.load(path)
    geometry = scene["frame"].geometry
    camera = tidr.Camera((0, 0, 0), (1, 0, 0, 0), (32, 32), (19, 16), WIDTH, HEIGHT)
    points = back_project(read_depth(tmp_path / "depth.png"), camera)[depth > 0]
    positions = geometry.vertices.numpy() if shape == "mesh" else geometry.positions.numpy()
    assert len(positions) <= len(points)
    assert all(np.abs(points - one).max(1).min() < 1e-5 for one in positions[::37])
    assert np.allclose(geometry.colors.numpy(), 0.25, atol=2e-3)
    assert scene["frame"].materials == (("frame_colors",) if shape == "mesh" else ())
    assert scene["frame"].translation.numpy().tolist() == [0, 1, 0]
    tidr.write_scene(scene, tmp_path / "again.toml")
    again = tidr.load(tmp_path / "again.toml")["frame"].geometry
    assert type(again) is type(geometry)
    assert np.allclose(again.bounds(), geometry.bounds(), atol=1e-5)


def test_an_angle_will_do_for_a_lens(tmp_path, f32):
    path, _ = written(tmp_path, "fov_y_degrees = 50")
    scene = tidr.load(path)
    plain, _ = written(tmp_path, f"focal = {HEIGHT / 2 / np.tan(np.radians(25))}")
    assert np.allclose(scene["frame"].geometry.bounds(), tidr.load(plain)["frame"].geometry.bounds())
    assert scene["frame"].geometry.colors is None


@pytest.mark.parametrize(
    ("rgbd", "more", "message"),
    [
        ("", "", "nodes.frame.rgbd.fov_y_degrees"),
        ("focal = 30, fov_y_degrees = 40", "", "exactly one"),
        ("focal = 0", "", "nodes.frame.rgbd.focal"),
        ("focal = 30, metres_per_level = 0", "", "nodes.frame.rgbd.metres_per_level"),
        ("focal = 30, jump = -1", "", "nodes.frame.rgbd.jump"),
        ('focal = 30, shape = "splats"', "", "nodes.frame.rgbd.shape"),
        ('focal = 30, colour = "color.png"', "", "color"),
        ('focal = 30, color = "none.png"', "", "nodes.frame.rgbd.color"),
        ('focal = 30, color = "tall.png"', "", "pixel for pixel"),
        ("focal = 30", 'mesh = "a.obj"', "beside mesh"),
        ("focal = 30", "\n[nodes.twin]\nrgbd = 3", "nodes.twin.rgbd"),
        ("focal = 30", '\n[nodes.twin]\nrgbd = { depth = "none.png", focal = 3 }', "nodes.twin.rgbd.depth"),
        ("focal = 30", '\n[nodes.twin]\nrgbd = { depth = "color.png", focal = 3 }', "colour picture"),
        ("focal = 30, jump = 1e-9", "", "no triangle"),
    ],
)
def test_faults_of_a_scene_file_are_named(rgbd, more, message, tmp_path):
    path, _ = written(tmp_path, rgbd, more)
    with pytest.raises(FileError, match=message):
        tidr.load(path)
