"""Mitsuba's scenes that are wrong: one clear error, and nothing that grows without end."""

import time
import warnings
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tidr
from tidr.errors import FileError, TidrError
from tidr.files.imported import SceneWarning

from .mitsuba_files import load, scene, write

FAULTS = {
    "<shape type='obj'><string name='filename' value='../quad.obj'/></shape>": "climbs out of its folder",
    "<shape type='obj'><string name='filename' value='/etc/passwd'/></shape>": "is absolute",
    "<shape type='obj'><string name='filename' value='no.obj'/></shape>": "is missing",
    "<shape type='obj'/>": "filename is missing",
    "<include filename='a.xml'/>": "in which it stands itself",
    "<include filename='../b.xml'/>": "climbs out",
    "<ref id='nobody'/>": "no object has the id 'nobody'",
    "<shape type='sphere'><float name='radius' value='-1'/></shape>": "radius: is -1.0, expected",
    "<shape type='sphere'><float name='radius' value='nan'/></shape>": "expected a finite number",
    "<shape type='sphere'><float name='radius' value='$r'/></shape>": r"no default gives \$r",
    "<shape type='sphere'><float name='radius' value='1'/><float name='radius' value='1'/></shape>": "given twice",
    "<shape/>": "shape has no type",
    "<blob type='x'/>": "unknown element 'blob'",
    "<shape type='cube'><transform name='to_world'><matrix value='1 2 3'/></transform></shape>": "matrix has 3 numbers",
    "<shape type='cube'><transform name='to_world'><spin angle='3'/></transform></shape>": "unknown transform 'spin'",
    "<shape type='cube'><transform name='x'><lookat origin='0 0 0' target='0 0 0'/></transform></shape>": "equals",
    "<bsdf type='twosided' id='x'><ref id='x'/></bsdf><shape type='cube'><ref id='x'/></shape>": "refer to itself",
    "<shape type='cube'><bsdf type='mask'/></shape>": "holds 0 BSDFs",
    "<sensor type='perspective'/>": "neither fov nor focal_length",
    "<emitter type='point'><rgb name='intensity' value='-1 0 0'/></emitter>": "nothing negative",
    "<shape type='cube' id='eye'/>": "given twice",
    "<shape type='cube'>": "is no valid XML: mismatched tag",
}


@pytest.mark.parametrize("body", FAULTS)
def test_faults_name_the_file_the_line_and_what_to_do(tmp_path, body):
    with pytest.raises(FileError, match=FAULTS[body]) as caught:
        load(tmp_path, body)
    assert f"{tmp_path / 'a.xml'}:" in str(caught.value)


def test_entities_are_refused_before_they_grow(tmp_path):
    bomb = (
        '<!DOCTYPE s [<!ENTITY a "'
        + "x" * 99
        + '">'
        + "".join(f'<!ENTITY {new} "{f"&{old};" * 50}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    )
    started = time.process_time()
    for text in (
        bomb + "]><scene>&i;</scene>",
        '<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><scene>&a;</scene>',
    ):
        with pytest.raises(FileError, match="holds a DOCTYPE"):
            tidr.load(write(tmp_path, text))
    doubled = "".join(
        f'<default name="{b}" value="${a}${a}"/>'
        for a, b in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
    )
    with pytest.raises(FileError, match="characters"):
        load(tmp_path, "", f'<default name="a" value="{"y" * 99}"/>{doubled}')
    with pytest.raises(FileError, match="levels"):
        load(tmp_path, "<scene>" * 90)
    assert time.process_time() - started < 2


EVERYTHING = scene(
    """<bsdf type="blendbsdf" id="mixed"><float name="weight" value="0.25"/><bsdf type="diffuse"><texture type="bitmap"
    name="reflectance"><string name="filename" value="picture.png"/></texture></bsdf><bsdf type="conductor"/></bsdf>
    <shape type="obj" id="o"><string name="filename" value="quad.obj"/><ref id="mixed"/><transform name="to_world">
    <rotate x="1" angle="30"/><matrix value="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"/></transform></shape>
    <shape type="cube"><bsdf type="principled"><float name="roughness" value="0.2"/></bsdf></shape><emitter type="spot">
    <float name="cutoff_angle" value="20"/></emitter><emitter type="envmap">
    <string name="filename" value="picture.png"/>
    </emitter>"""
)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["swap", "cut", "insert", "word"]),
            st.floats(0, 1),
            st.sampled_from(
                ["-1", "1e400", "0", "&a;", "<", "$size", "\0", "é", "true", "..", '"', "/>", "sphere", "id"]
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_changed_scenes_are_refused_or_read(changes, tmp_path):
    text = EVERYTHING
    for what, place, new in changes:
        at = int(place * len(text))
        if what == "word":  # another value of an attribute
            start = text.find('value="', at)
            end = text.find('"', start + 7)
            text = text[: start + 7] + new + text[end:] if start >= 0 else text
        else:
            text = text[:at] + ("" if what == "cut" else new) + text[at + (0 if what == "insert" else 1 + len(new)) :]
    path = write(tmp_path, text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)
        with suppress(TidrError):
            tidr.load(path)


WRONG = (None, -1, 1e400, "a", "", [], {}, {"type": "ref", "id": "ball"}, [[1]], np.eye(4), object(), {"type": 3}, True)


def test_wrong_values_in_dictionaries_are_refused_or_read():
    def fresh() -> dict:
        texture = {"type": "bitmap", "data": np.ones((2, 2, 3)), "raw": True, "to_uv": np.eye(3)}
        film = {"type": "hdrfilm", "width": 8, "height": 8}
        phase, spectrum = {"type": "hg", "g": 0.1}, {"type": "spectrum", "value": [(400, 0.1), (700, 0.2)]}
        return {
            "type": "scene",
            "eye": {"type": "perspective", "fov": 40, "to_world": np.eye(4), "film": film},
            "paint": {
                "type": "mask",
                "opacity": 0.5,
                "inner": {"type": "roughconductor", "alpha": 0.1, "eta": spectrum},
            },
            "ball": {"type": "sphere", "center": [1, 2, 3], "bsdf": {"type": "ref", "id": "paint"}},
            "side": {"type": "rectangle", "bsdf": {"type": "diffuse", "reflectance": texture}},
            "box": {"type": "cube", "interior": {"type": "homogeneous", "albedo": 0.5, "phase": phase}},
            "spot": {
                "type": "spot",
                "to_world": np.eye(4),
                "cutoff_angle": 20,
                "intensity": {"type": "rgb", "value": 3},
            },
            "sky": {"type": "envmap", "data": np.ones((2, 4, 3)), "scale": 2.0},
        }

    def leaves(table: dict, path: tuple = ()) -> list[tuple]:
        return [
            one
            for key, value in table.items()
            for one in [(*path, key), *(leaves(value, (*path, key)) if isinstance(value, dict) else [])]
        ]

    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)
        assert len(tidr.load(fresh()).nodes) == 4
        for turn, path in enumerate(leaves(fresh())):
            for value in WRONG[turn % 3 :: 3]:
                body = fresh()
                owner = body
                for key in path[:-1]:
                    owner = owner[key]
                owner[path[-1]] = value
                try:
                    tidr.load(body)
                except TidrError:
                    refused += 1
    assert refused > 60
