"""Densities of a field at given points, for surfaces to be extracted from it; no gradient."""

import numpy as np

from tidr import runtime
from tidr.fitting.tape import unrecorded
from tidr.kernels.field import BLOCK, frequency
from tidr.scene.field import FrequencyField, HashField

from .field_frequency import OFFSET, SCALE, evaluators_of
from .field_hash import evaluator_of
from .field_network import Evaluator

BOUND = 15.0  # of the exponent, as in training


def field_densities(field: HashField | FrequencyField, points: np.ndarray) -> np.ndarray:
    """Densities [n], per unit of world length, at points [n, 3] of object space; 0 outside the box."""
    inside = np.all((points >= field.lower) & (points <= field.upper), axis=1)
    places = (points[inside] - field.lower) / (field.upper - field.lower)
    hashed = isinstance(field, HashField)
    room = evaluator_of(field) if isinstance(field, HashField) else evaluators_of(field, 1).fine
    room.holds = None
    found = []
    for first in range(0, len(places), room.capacity):
        part = places[first : first + room.capacity]
        numbers = _evaluated(field, room, part if hashed else part * SCALE + OFFSET)
        softplus = np.logaddexp(0.0, numbers - 1.0)
        found.append(np.exp(np.minimum(numbers, BOUND)) if hashed else softplus)
    densities = np.zeros(len(points))
    densities[inside] = np.concatenate(found) if found else 0.0
    return densities


def _evaluated(field: HashField | FrequencyField, room: Evaluator, places: np.ndarray) -> np.ndarray:
    """What the network says [n] of density, before its activation."""
    network, total = room.network, len(places)
    padded = -(-total // BLOCK) * BLOCK
    full = np.zeros((room.capacity, 3), np.float64 if runtime.current().precision == 64 else np.float32)
    full[:total] = places
    with unrecorded():
        room.samples.positions.ndarray.from_numpy(full.reshape(-1))
        if isinstance(field, HashField):
            evaluator_of(field).encode(field, total)
            room.forward(field.weights, total, network.density_layers)
        else:
            positions = room.samples.positions.ndarray
            frequency.encode(padded, field.octaves, network.encoded[0], network.rows, positions, room.values.ndarray)
            room.forward(field.fine, total, network.density_layers)
    values = room.values.ndarray.to_numpy()[: padded * network.rows].reshape(-1, network.rows, BLOCK)
    return values[:, network.density].reshape(-1)[:total].astype(np.float64)
