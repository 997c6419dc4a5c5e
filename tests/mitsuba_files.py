"""Mitsuba scenes as XML, made in code."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import tidr
from tidr.files.imported import SceneWarning

SENSOR = """<sensor type="perspective" id="eye"><float name="fov" value="40"/><transform name="to_world">
<lookat origin="0.4, 1.2, 4" target="0, 0.3, 0" up="0, 1, 0"/></transform><film type="hdrfilm">
<integer name="width" value="$size"/><integer name="height" value="24"/><rfilter type="box"/></film>
<sampler type="independent"/></sensor>"""

CORNELL = """<scene version="3.0.0"><default name="size" value="48"/>
<integrator type="path"><integer name="max_depth" value="-1"/></integrator>
<sensor type="perspective" id="eye"><float name="fov" value="39.3077"/><string name="fov_axis" value="x"/>
<transform name="to_world"><lookat origin="0, 0, 3.9" target="0, 0, 0" up="0, 1, 0"/></transform>
<film type="hdrfilm"><integer name="width" value="$size"/><integer name="height" value="$size"/></film></sensor>
<bsdf type="twosided" id="white"><bsdf type="diffuse">
<rgb name="reflectance" value="0.885809, 0.698859, 0.666422"/></bsdf></bsdf>
<include filename="colours.xml"/>
<shape type="rectangle" id="light"><transform name="to_world"><scale x="0.23" y="0.19" z="0.19"/>
<rotate x="1" angle="90"/><translate y="0.99" z="0.01"/></transform><ref id="white"/>
<emitter type="area"><rgb name="radiance" value="18.387, 13.9873, 6.75357"/></emitter></shape>
<shape type="rectangle" id="floor"><transform name="to_world"><rotate x="1" angle="-90"/><translate y="-1"/></transform>
<ref id="white"/></shape>
<shape type="rectangle" id="ceiling"><transform name="to_world"><rotate x="1" angle="90"/><translate y="1"/></transform>
<ref id="white"/></shape>
<shape type="rectangle" id="back"><transform name="to_world"><translate z="-1"/></transform><ref id="white"/></shape>
<shape type="rectangle" id="right"><transform name="to_world">
<matrix value="0 0 -1 1  0 1 0 0  1 0 0 0  0 0 0 1"/></transform><ref id="green"/></shape>
<shape type="rectangle" id="left"><transform name="to_world"><rotate y="1" angle="90"/><translate x="-1"/></transform>
<ref id="red"/></shape>
<shape type="cube" id="small"><transform name="to_world"><scale value="0.3"/><rotate y="1" angle="-17"/>
<translate x="0.335" y="-0.7" z="0.38"/></transform><ref id="white"/></shape>
<shape type="cube" id="large"><transform name="to_world"><scale x="0.3" y="0.61" z="0.3"/>
<rotate y="1" angle="18.25"/><translate x="-0.33" y="-0.4" z="-0.28"/></transform><ref id="white"/></shape></scene>"""

COLOURS = """<scene version="3.0.0"><bsdf type="twosided" id="green"><bsdf type="diffuse">
<rgb name="reflectance" value="0.105421 0.37798 0.076425"/></bsdf></bsdf>
<bsdf type="twosided" id="red"><bsdf type="diffuse">
<rgb name="reflectance" value="0.570068, 0.0430135, 0.0443706"/></bsdf></bsdf></scene>"""

QUAD = """v -1 -1 0
v 1 -1 0
v 1 1 0
v -1 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""


def scene(body: str, head: str = "") -> str:
    return f'<scene version="3.0.0"><default name="size" value="32"/>{head}{SENSOR}{body}</scene>'


def write(folder: Path, text: str, name: str = "a.xml") -> Path:
    """The scene and everything that it may name, in a folder."""
    (folder / "quad.obj").write_text(QUAD)
    (folder / "colours.xml").write_text(COLOURS)
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[0, 0], picture[1, 3] = (255, 0, 0), (188, 188, 188)
    Image.fromarray(picture).save(folder / "picture.png")
    (folder / name).write_text(text)
    return folder / name


def load(folder: Path, body: str, head: str = "") -> tidr.Scene:
    """The scene, which tidr has all of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        return tidr.load(write(folder, scene(body, head)))
