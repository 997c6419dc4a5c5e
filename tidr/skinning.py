"""Skinning: vertices that follow joints by weights, and a mesh of such vertices."""

import numpy as np

from . import runtime
from .array import Array
from .buffer import Buffer
from .errors import SceneError
from .fitting.tape import Operation, run
from .kernels import accumulate
from .kernels import skinning as kernels
from .ops.inputs import array
from .parameter import Constraint, Parameter
from .scene.parametric import ParametricSurface

METHODS = ("linear", "dual_quaternion")


def skin(vertices, weights, joints, method: str = "linear") -> Array:
    """[V, 3] vertices moved by joints, differentiable in all three.

    Args:
        vertices: [V, 3] at rest. weights: [V, J], of which those of a vertex count by their share of their sum.
        joints: [J, 7] how each joint moves the space from its rest: a quaternion, w first, of any length, then a
            translation; a point is turned about the origin, then shifted.
        method: "linear" takes the mean of what the joints make of a vertex (Magnenat-Thalmann et al. 1988), which
            shrinks what is twisted; "dual_quaternion" moves it by the joints' mean (Kavan et al. 2007, "Skinning with
            Dual Quaternions"), a rigid motion, by the short way from the joint of the greatest weight.

    What this does not differentiate: which joint that is, and which way is short.

    Raises:
        SceneError: wrong shapes, numbers that are not finite, a quaternion of length 0, a vertex whose weights, given
            as plain numbers, sum to 0 or less, or another method.
    """
    vertices, joints = array("skin.vertices", vertices, "V 3"), array("skin.joints", joints, "J 7")
    if not isinstance(weights, Array) and not (np.sum(weights, -1) > 0).all():
        raise SceneError("skin.weights", "of a vertex sum to 0 or less", "give each vertex a joint")
    weights, dual = array("skin.weights", weights, "V J"), _method(method)
    count, of = weights.shape
    if vertices.rows != count or joints.rows != of:
        what = f"[{count}, {of}] go with {vertices.rows} vertices and {joints.rows} joints"
        raise SceneError("skin.weights", what, "give one for each vertex and joint")
    turns, out = _dual_quaternions(joints), Array((count, 3))

    def forward() -> None:
        kernels.skin(count, of, dual, vertices.value, weights.value, turns.value, out.value)

    def backward() -> None:
        chunks = runtime.reduction_chunks()
        part = Buffer((chunks * of * 8,))
        part.ndarray.fill(0.0)
        to_vertices, to_weights = (each if each.grad is not None else Array(each.shape) for each in (vertices, weights))
        kernels.skin_adjoint(
            chunks, count, of, dual, vertices.value, weights.value, turns.value, out.value, out.grad, to_vertices.grad,
            to_weights.grad, part.ndarray, runtime.chunk_block(),
        )  # fmt: skip
        accumulate.collect(chunks, of, 8, part.ndarray, turns.grad)

    run(Operation(forward, backward, [vertices, weights, turns], [out], "skin"))
    return out


def _method(method: str) -> int:
    if method not in METHODS:
        raise SceneError("skin.method", f"is {method!r}", f"choose one of {', '.join(METHODS)}")
    return METHODS.index(method)


def _dual_quaternions(joints: Array) -> Array:
    """[J, 8] unit dual quaternions of joints, on the host in f64: there are few."""
    out = Array((joints.rows, 8))

    def taken() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbers = joints.numpy().astype(np.float64)
        length = np.linalg.norm(numbers[:, :4], axis=1, keepdims=True)
        if not (length > 1e-12).all():
            raise SceneError("skin.joints", f"{int(length.argmin())} has a quaternion of length 0", "give rotations")
        return numbers[:, :4] / length, numbers[:, 4:], length

    def forward() -> None:
        q, t, _ = taken()
        w, u = q[:, :1], q[:, 1:]
        out.set(np.column_stack([q, -(t * u).sum(1) / 2, (w * t + np.cross(t, u)) / 2]))

    def backward() -> None:
        (q, t, length), g = taken(), out.grad_numpy().astype(np.float64)
        w, u, g_w, g_u = q[:, :1], q[:, 1:], g[:, 4:5] / 2, g[:, 5:] / 2
        to_q = g[:, :4] + np.column_stack([(t * g_u).sum(1), np.cross(g_u, t) - g_w * t])
        to_q = (to_q - q * (q * to_q).sum(1, keepdims=True)) / length
        joints.set_grad(joints.grad_numpy() + np.column_stack([to_q, w * g_u + np.cross(u, g_u) - g_w * u]))

    run(Operation(forward, backward, [joints], [out], "dual quaternions"))
    return out


class SkinnedMesh(ParametricSurface):
    """A mesh that follows joints; parameters: rest [V, 3], weights [V, J], joints [J, 7], as `skin` takes them."""

    def __init__(self, rest, faces, weights, joints, method: str = "linear", uvs=None, shading: str = "smooth") -> None:
        _method(method)
        self.method = method
        self.rest, self.joints = Parameter(rest), Parameter(joints)
        self.weights = Parameter(weights, Constraint(simplex=True))
        named = {"rest": self.rest, "weights": self.weights, "joints": self.joints}
        super().__init__(faces, len(self.rest.numpy()), named, uvs, shading)

    def vertices(self) -> Array:
        return skin(self.rest, self.weights, self.joints, self.method)
