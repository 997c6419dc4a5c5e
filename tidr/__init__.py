"""tidr: the all-in-one differentiable renderer on Taichi. Public names only, loaded when first used."""

from importlib import import_module
from pathlib import Path
from typing import Any

_here = Path(__file__).parent
if not (_here / "kernels").is_dir():  # a checkout: kernels/, cli/ and scenes/ stand beside this folder
    __path__.append(str(_here.parent))

__version__ = "0.1.0"

_NAMES = {
    "init": "runtime",
    "TidrError": "errors",
    "FileError": "errors",
    "SceneError": "errors",
    "BackendError": "errors",
    "GradientError": "errors",
    "Array": "array",
    "Parameter": "parameter",
    "Parameters": "parameter",
    "Constraint": "parameter",
    "Tape": "fitting.tape",
    "Scene": "scene.graph",
    "Node": "scene.graph",
    "Film": "scene.graph",
    "Camera": "scene.camera",
    "orbit": "scene.camera",
    "sphere_views": "scene.camera",
    "RadianceMeter": "scene.meter",
    "IrradianceMeter": "scene.meter",
    "AmbientLight": "scene.light",
    "DirectionalLight": "scene.light",
    "PointLight": "scene.light",
    "FlashLight": "scene.light",
    "SpotLight": "scene.light",
    "EnvironmentLight": "scene.light",
    "SphericalHarmonicLight": "scene.light",
    "Material": "scene.material",
    "Texture": "scene.texture",
    "Mesh": "scene.mesh",
    "icosphere": "scene.mesh",
    "simplify": "scene.simplify",
    "unwrap": "scene.simplify",
    "skin": "skinning",
    "SkinnedMesh": "skinning",
    "Volume": "scene.volume",
    "VoxelGrid": "scene.voxels",
    "AffineMixture": "scene.affine_mixture",
    "NeusGrid": "scene.neus",
    "HashField": "scene.field",
    "FrequencyField": "scene.field",
    "Tetrahedra": "scene.tetrahedra",
    "ParametricSurface": "scene.parametric",
    "PointCloud": "scene.points",
    "depth_mesh": "scene.rgbd",
    "depth_points": "scene.rgbd",
    "Gaussians": "scene.gaussians",
    "load": "files.scene_file:load_scene",
    "render": "renderers.renderer",
    "Image": "renderers.renderer",
    "Rasterizer": "renderers.raster",
    "bake": "renderers.baking",
    "Reprojection": "renderers.reprojection",
    "VolumeRenderer": "renderers.volume",
    "VoxelRenderer": "renderers.voxels",
    "LevelSetRenderer": "renderers.level_set",
    "NeusRenderer": "renderers.neus",
    "PointRenderer": "renderers.points",
    "HybridRenderer": "renderers.hybrid",
    "PathTracer": "renderers.path",
    "PhotonMapper": "renderers.photons",
    "LightTracer": "renderers.light_tracing",
    "PhotonMap": "renderers.photon_map",
    "AnchorRenderer": "renderers.implicit_anchors",
    "Anchors": "renderers.implicit_anchors",
    "denoise": "renderers.denoise",
    "ATrous": "renderers.denoise",
    "NonLocalMeans": "renderers.denoise",
    "screened_poisson": "renderers.screened_poisson",
    "SGD": "fitting.optimizers",
    "Adam": "fitting.optimizers",
    "UniformAdam": "fitting.optimizers",
    "VectorAdam": "fitting.optimizers",
    "Optimizers": "fitting.optimizers",
    "LargeSteps": "fitting.large_steps",
    "LBFGS": "fitting.searches",
    "LevenbergMarquardt": "fitting.least_squares",
    "Dogleg": "fitting.least_squares",
    "Residual": "fitting.searches",
    "fit": "fitting.fit",
    "fit_depth": "fitting.depth_fit",
    "check_gradients": "fitting.gradcheck",
    "GradientReport": "fitting.gradcheck",
    "finite_gradients": "fitting.optimizers",
    "write_scene": "files.scene_write",
    "Views": "fitting.views",
    "read_depth": "files.depth",
    "write_depth": "files.depth",
    "read_volume": "files.volume",
    "write_volume": "files.volume",
    "read_splats": "files.splats",
    "write_splats": "files.splats",
    "read_points": "files.points",
    "write_points": "files.points",
    "Limits": "files.guard",
    "FitSettings": "fitting.settings",
    "ParameterSettings": "fitting.settings",
    "StartSettings": "fitting.settings",
    "DensifySettings": "fitting.settings",
    "register_renderer": "renderers.renderer",
    "register_material": "renderers.shading",
    "register_edges": "renderers.raster",
    "register_geometry": "scene.parametric",
    "register_loss": "fitting.own_losses",
    "load_plugin": "files.plugins",
}
_MODULES = {
    "losses": "fitting.losses",
    "regularizers": "fitting.regularizers",
    "grid_regularizers": "fitting.grid_regularizers",
    "implicit_losses": "fitting.implicit_losses",
    "voxel_losses": "fitting.voxel_losses",
    "volume_losses": "fitting.volume_losses",
    "depth_losses": "fitting.depth_losses",
    "point_losses": "fitting.point_losses",
    "point_regularizers": "fitting.point_regularizers",
    "ray_consistency": "fitting.ray_consistency",
    "schedules": "fitting.schedules",
    "conversions": "scene.conversions",
    "neighbors": "scene.neighbors",
    "sampling": "scene.sampling",
    "point_normals": "scene.point_normals",
    "alignment": "scene.alignment",
    "extract": "extract",
    "ops": "ops",
    "shaders": "shaders",
}

__all__ = [*_NAMES, *_MODULES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        module, _, attribute = _NAMES[name].partition(":")
        return getattr(import_module(f"{__name__}.{module}"), attribute or name)
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
