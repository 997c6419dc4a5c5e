"""Mitsuba scenes: a well-formed one, broken ones, and small ones that want to grow."""

from collections.abc import Iterator, Sequence


def mitsuba(radius: str = "0.5", mesh: str = "a.obj", more: str = "") -> bytes:
    """A Mitsuba scene of a mesh, a sphere, a lamp and a camera."""
    return f"""<?xml version="1.0"?>
<scene version="3.0.0"><default name="size" value="8"/>
<sensor type="perspective" id="eye"><float name="fov" value="40"/><film type="hdrfilm">
<integer name="width" value="$size"/><integer name="height" value="8"/></film></sensor>
<bsdf type="twosided" id="paint"><bsdf type="diffuse"><texture type="bitmap" name="reflectance">
<string name="filename" value="a.png"/></texture></bsdf></bsdf>
<shape type="obj"><string name="filename" value="{mesh}"/><ref id="paint"/></shape>
<shape type="sphere"><float name="radius" value="{radius}"/><transform name="to_world">
<translate x="1"/><rotate y="1" angle="30"/></transform><emitter type="area"/></shape>
<emitter type="point"><point name="position" value="1, 2, 3"/></emitter>{more}</scene>
""".encode()


def cases(numbers: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Names and broken scenes."""
    for number in numbers:
        yield f"radius is {number!r}", mitsuba(radius=number)
    for name in ("", "../a.obj", "/etc/passwd", "a.obj/..", "file:///etc/passwd", "C:\\a.obj", "b.obj", "&#9;", "."):
        yield f"mesh {name!r}", mitsuba(mesh=name)
    for more in (
        '<include filename="a.xml"/>', '<include filename="../a.xml"/>', '<ref id="x"/>',
        '<alias id="a" as="a"/><ref id="a"/>',
        '<bsdf type="mask" id="q"><ref id="q"/></bsdf><shape type="cube"><ref id="q"/></shape>', 
        "<default/>", "<shape/>",
        '<shape type="instance"><shape type="shapegroup" id="g"/></shape>', "<b:c/>", '<shape type="$type"/>', "&a;",
        '<shape type="cube"><transform name="to_world"><scale value="0"/></transform></shape>', "<transform/>", "&#0;",
        '<shape type="cube"><transform name="to_world"><scale value="1e17"/><scale value="1e17"/></transform></shape>',
        '<emitter type="envmap"/>', '<sensor type="perspective"><float name="fov" value="180"/></sensor>',
    ):  # fmt: skip
        yield f"with {more}", mitsuba(more=more)
    yield "deep nesting", b"<scene>" + b"<shape type='a'>" * 100_000
    yield "an unknown encoding", b'<?xml version="1.0" encoding="x"?><scene/>'
    yield "another root", b"<shape type='cube'/>"


def bombs() -> Iterator[tuple[str, str, bytes]]:
    """Names, file names and contents."""
    entities = "".join(f'<!ENTITY {b} "{f"&{a};" * 20}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    text = f'<!DOCTYPE s [<!ENTITY a "{"x" * 99}">{entities}]><scene>&i;</scene>'
    yield "xml whose entities grow twentyfold eight times", "a.xml", text.encode()
    doubled = "".join(f'<default name="v{k + 1}" value="$v{k}$v{k}"/>' for k in range(40))
    text = f'<scene><default name="v0" value="{"x" * 99}"/>{doubled}<shape type="$v40"/></scene>'
    yield "xml whose defaults double forty times", "a.xml", text.encode()
    yield "xml of a million elements", "a.xml", b"<scene>" + b"<ref/>" * 10**6 + b"</scene>"
