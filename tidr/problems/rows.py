"""The checklist: every method and feature that tidr owes, numbered, with the section of the methods reference.

A test that proves a row carries `@pytest.mark.row(<number>)`; `tidr bench --rows` prints the table.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One promise: its number, what it is, and the sections that define it ("A6", "E1-E3, E14")."""

    number: int
    title: str
    section: str


def parse_numbers(text: str) -> list[int]:
    """Row numbers of "4-23,26", in order and once each.

    Raises:
        ValueError: not such a list, or a number that is no row.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part.strip()!r} is neither a row nor a range of rows, as in 4-23,26")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= len(ROWS):
            raise ValueError(f"{part.strip()!r} is outside the rows 1 to {len(ROWS)}")
        numbers.update(range(low, high + 1))
    return sorted(numbers)


_TABLE = """
0.5      | one call from shape, camera, material and light to colour and depth
F9       | the loop: render, loss, backward, step, clamp
H11      | a predictor trained through the renderer on images alone
A1       | derivatives inside triangles by barycentrics
A1       | the triangle whose silhouette has no gradient
A2       | OpenDR
A2       | OpenDR with an image pyramid or Sobel derivative
A3       | neural mesh renderer, gradients from afar
A3       | neural mesh renderer, gradients from neighbours only
A4       | Genova's negative barycentrics
A5       | Rhodin's density visibility
A6       | soft silhouettes
A6       | soft aggregation of colours
A6       | soft rasterizer: every distance, colour and alpha mode
A7       | DIB-R
A8       | nvdiffrast: rasterize
A8       | nvdiffrast: interpolate
A8       | nvdiffrast: textures, mipmaps, cube maps
A8       | nvdiffrast: antialias
A8       | nvdiffrast's four steps as an example that runs
A9       | PyTorch3D's shaders and blending
A7, F6   | Kaolin's renderers and metrics behind one interface
A1, F7   | TensorFlow Graphics: interior gradients, LM, SH light
E1-E3, E14 | Mitsuba 2
E3       | the wall-colour tutorial of Mitsuba 3
A3, A6   | JRender on surfaces
D1       | JRender on volumes
A10, A11 | JRender 2: SSAO, soft shadow, reflections, subsurface, PBR textures
E4       | redner
E4       | edge sampling
E5       | differential radiative transfer in media
E6       | reparameterised integrals
E7       | warped-area sampling
E8       | path-space differentiation
E3       | radiative backpropagation
E3       | path replay backpropagation
E9       | projective sampling
E10      | antithetic sampling
E3       | memory that does not grow with path length
0.4      | compiled vector kernels, forward and reverse
E13      | coherent pseudo-marginal light transport
E13      | multiple-try Metropolis
E14      | optics of graded refractive index
E5       | reconstruction of a heterogeneous medium
E1       | path tracing
E1       | bidirectional path tracing
E13      | Metropolis light transport
E13      | Hessian-Hamiltonian sampling
E13      | Langevin sampling
E11      | photon mapping
E11      | progressive photon mapping
E11      | stochastic progressive photon mapping
E11      | photons in volumes, photon beams
E12      | differentiable photon mapping
B1       | perspective transformer nets: max occupancy
B2       | ray consistency
B2       | ray consistency with depth, colour and semantics
B3       | visual hull of PlatonicGAN
B3       | absorption only
B3       | emission and absorption
B4       | neural volumes: march and warp
B5       | SDFDiff
B        | voxels as occupancy, SDF and truncated SDF
B1, B3   | voxels projected by a spatial transformer
C1       | points one pixel large
C1       | pseudo-rendered nearest points
C2       | truncated Gaussian points
C3       | weights of the K nearest in depth
C3       | SynSin's soft points
C4       | surface splatting
C5       | points to voxels
C6       | an RGBD picture as points
C6       | monocular depth without labels
C7       | 3D Gaussian splatting
C8       | spheres of Pulsar
D4       | largest occupancy along the ray
D1       | NeRF
D5       | DVR
D5       | level sets: IDR and DIST
D1       | coarse and fine samples along rays
D4       | random anchors shared by views
B, D     | one grid drawn as voxels and as a field
D2       | hash-grid fields
D7       | field to mesh
D7       | marching tetrahedra with moving corners
D7, A10, A11 | geometry, material and light together
G14      | capture application: pictures to mesh and splats
D7, T5   | a sphere cannot become a ring
D        | explicit against neural: bytes and quality
G20      | structure from motion on two views
H11      | a small network fits any function
H11, G4  | the self-supervised loop with a camera network
H11      | a discriminator of views as prior
G4       | cameras with few labels; shape and pose networks
G6       | keypoints, parts and lights as further supervision
H11, G2  | texture model, model retrieval, refinement
G22      | pictures in time and physics
F3, G6   | losses that join rendering and comparison
A11      | shadow maps
A11      | environment mapping
E15      | a denoiser with gradients
H3       | a scene code drawn by a network
H3       | deferred neural textures on a rasterizer
F10      | finite differences for global illumination
F10      | local renderers judged by outcome
F11      | the toy problems
F10      | time and memory report
F10      | pictures of gradients
A10      | Lambert
A10      | Phong
A10      | Blinn-Phong
A10      | light by spherical harmonics
A10      | Cook-Torrance with GGX
A11      | maps of normals, specular and roughness
0.4, F10 | one material differentiated by hand and by machine
0.4      | a Unity shader made differentiable
0.4      | the same shader differentiated at source level
A        | triangle meshes
0.2      | quads
C        | point clouds
B        | voxel grids
B5, D5   | signed distance fields
0.5      | shapes from outside the package
A        | tiled rasterization equals brute force
E1       | rays against a bounding volume hierarchy
H11      | graph convolution
0.2      | rotations and transforms in every form, skinning
G5       | similarity from point pairs
G4       | iterative closest point
C4       | nearest neighbours, balls, farthest points
C4       | alignment and normals of points
D7, B    | conversions between primitives
D7       | marching cubes and tetrahedra, voxelization, sampling
A9       | Phong shaders, hard and soft
A9       | Gouraud shaders, hard and soft
A9       | flat shader
A9       | soft silhouette shader
E1       | a dozen BSDFs
A10      | point light
A10      | directional light
A10      | ambient light
A10      | spherical-harmonics light
E1       | area light
E1       | spot light
E1       | constant environment
A11, E1  | environment map
F6       | Chamfer distance
F5       | edge length
F5       | Laplacians: uniform, cotangent, curvature
F5       | normal consistency
F6       | directed distance
F5       | Laplacian regularizer of Kaolin
0.2      | perspective camera
0.2      | orthographic camera
0.2      | quadratic distortion
E1       | thin lens
0.2      | irradiance meter
0.2      | radiance meter
G24      | OBJ with materials
G24      | PLY, text, binary and splats
G24      | folders of known data sets
G14      | camera files of NeRF, LLFF and COLMAP
H11      | checkpoints that are verified
H11      | small copies of known architectures
A9       | batches of unequal meshes
G24      | viewers and exports
E1       | scene files
0.5      | extensions by name
F7       | Levenberg-Marquardt
F7       | SGD and Adam
E1, 0.4  | plain renderers in supporting roles
G24      | animations, HDR output, metadata
0.4      | small machines
F10      | debugging and benchmark tools
0.5      | exchange with other frameworks
G1       | object reconstruction
G17      | body shape and pose
G17      | body from silhouettes and heat maps
G19      | body parts without labels
G17      | hands from several views
G17, G3  | faces
G17      | blend shapes and markers
G17      | penalties against interpenetration
G4       | pose of objects and cameras
G19      | parts of objects
G7       | materials
G8, G9   | lights and shading
G13      | adversarial examples
G5       | automatic labels of nine degrees of freedom
G5       | automatic labels from one camera
G21      | modelling of teeth
G14      | novel views
G3, H4   | pictures edited through 3D
G18      | style transfer
G21, G15 | open applications: caustics, translucency, daylight
G7       | spatially varying BRDF by rendering loss
G10      | fusion of height maps
A10      | one surface that fills the screen
H12      | learned renderers and priors
G8       | light for a wanted shadow or highlight
F4, F5   | perceptual, regularizing and task losses
G23      | try-on and augmented reality
G9, G20  | inverse rendering for robots
F9       | when to stop, and what to export
A6, A8   | antialiasing and softening compared
E3       | a million parameters at once
G12      | levels of detail, simplification, skinning
G12      | baking to a texture or to vertex colours
G1, G14  | pictures to model
H12, G18 | a user's score guides a texture
G2       | the unseen back of a single picture
H1       | bidirectional textures, compressed
H2, G7   | materials from one picture
H2, G7   | shape and material together
H3       | voxels of deep features
H3       | plane sweeps and multi-plane images
H3       | neural textures
H4       | relighting from five lights
H4       | deferred neural lighting
D8, H4   | relightable fields
H5       | denoiser with predicted parameters
H5, E15  | predicted kernels
H5       | direct, residual and dual denoisers
H5       | adaptive sampling
H5       | kernels that splat samples
H5       | features of paths
H5, H9   | local light fields
E15, H6  | gradient-domain reconstruction
H7       | learned photon kernels
H5       | denoising in time
H8       | radiance of clouds
H6, E11  | gradient-domain photon density
H9       | learned path guiding
0.4      | the same kernels on CPU, CUDA and Vulkan
F10      | one command that runs this table
"""

ROWS = tuple(
    Row(number, *(part.strip() for part in reversed(line.split("|"))))
    for number, line in enumerate(_TABLE.strip().splitlines(), start=1)
)
