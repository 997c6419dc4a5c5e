"""A scene with every light, material, source and transform that the mesh renderer knows, small and seeded."""

import numpy as np

import tidr


def blob(seed: int, level: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy sphere: vertices [V, 3], faces [F, 3]."""
    rng = np.random.default_rng(seed)
    vertices, faces = tidr.icosphere(level)
    return vertices * (1 + 0.15 * rng.normal(size=(len(vertices), 1))), faces


def sphere_uvs(vertices: np.ndarray) -> np.ndarray:
    """A smooth map of the sphere into the unit square; it need not be one to one."""
    return 0.5 + 0.3 * vertices[:, :2] / np.linalg.norm(vertices, axis=1, keepdims=True)


def everything(seed: int = 0, filter: str = "trilinear", size: int = 32, orthographic: bool = False) -> tidr.Scene:
    """Two textured meshes under a two-level transform, four materials, three kinds of light."""
    rng = np.random.default_rng(seed)
    scene = tidr.Scene(tidr.Film(size, size))
    texture = tidr.Texture(rng.uniform(0.2, 0.8, (9, 7, 3)), filter=filter)
    rough = tidr.Texture(rng.uniform(0.3, 0.8, (4, 8, 1)), wrap="mirror", filter="bilinear")
    scene.add_material("matte", tidr.Material("lambert", albedo=texture))
    scene.add_material("shiny", tidr.Material("phong", albedo=(0.4, 0.3, 0.6), specular=0.3, shininess=8.0))
    scene.add_material("waxed", tidr.Material("blinn_phong", albedo="vertex_colors", specular=0.2, shininess=12.0))
    metal = tidr.Texture(rng.uniform(0.2, 0.8, (8, 8, 3)), wrap="clamp", filter=filter)
    scene.add_material("metal", tidr.Material("metallic_roughness", albedo=metal, roughness=rough, metallic=0.4))
    for name, materials, where in (("left", ("matte", "waxed"), -0.7), ("right", ("metal", "shiny"), 0.8)):
        vertices, faces = blob(seed * 2 + len(name))
        mesh = tidr.Mesh(
            vertices * 0.7,
            faces,
            uvs=sphere_uvs(vertices) + rng.normal(size=(len(vertices), 2)) * 0.02,
            colors=rng.uniform(0.2, 0.8, vertices.shape),
            face_materials=np.arange(len(faces)) % 2,
            attributes={"heat": rng.normal(size=(len(vertices), 2))},
            normals=vertices if name == "right" else None,
        )
        rotation = rng.normal(size=4)
        node = tidr.Node(mesh, materials, "table", (where, 0.1, 0.0), rotation, (0.9, 1.1, 1.0) if where < 0 else 0.8)
        scene.add_node(name, node)
    scene.add_node("table", tidr.Node(None, (), None, (0.1, 0.05, -0.2), rng.normal(size=4) * 0.05 + [1, 0, 0, 0], 1.1))
    scene.add_light("sky", tidr.AmbientLight((0.2, 0.25, 0.3)))
    scene.add_light("sun", tidr.DirectionalLight((-0.3, -0.5, -1.0), (1.5, 1.4, 1.2)))
    scene.add_light("bulb", tidr.PointLight((0.5, 1.0, 2.5), (4.0, 5.0, 6.0)))
    view = {"height_world": 2.6} if orthographic else {"fov_y_degrees": 45}
    camera = tidr.Camera.look_at((0.4, 0.5, 3.2), (0, 0, 0), width=size, height=size, **view)
    scene.add_camera("front", camera)
    return scene
