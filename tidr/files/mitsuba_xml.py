"""Mitsuba's XML: elements with their lines, `$name` defaults, includes, references and transforms, as objects.

A document type is refused before anything in it is read, so that no entity is ever expanded. Included files must lie
in the folder of the scene.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.parsers import expat

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest

from .guard import DEFAULT, LARGEST_COORDINATE, LARGEST_INTEGER, Limits, at, read_bytes, resolve
from .mitsuba_items import Book, Item, Reference
from .mitsuba_spectra import MOST, read_spectrum
from .mitsuba_transforms import look_at, rotate, scale, translate

LARGEST_XML = 16 << 20  # bytes
MOST_ELEMENTS = 100_000  # of all files together
MOST_FILES, DEEPEST = 256, 16  # that are included, and in each other
OBJECTS = (
    "scene", "shape", "bsdf", "emitter", "sensor", "texture", "medium", "phase", "volume", "integrator", "sampler",
    "film", "rfilter",
)  # fmt: skip
PROPERTIES = ("float", "integer", "boolean", "string", "point", "vector", "rgb", "spectrum", "transform")
DIRECTIONS = ("default", "include", "alias", "ref")
_DEFAULT = re.compile(r"\$([A-Za-z_]\w*)")


@dataclass(slots=True)
class Element:
    """One element of a file, with its line."""

    tag: str
    attributes: dict[str, str]
    path: Path
    line: int
    children: list[Element] = field(default_factory=list)

    @property
    def where(self) -> str:
        return at(self.path, self.line)


def read_xml(path: Path, limits: Limits = DEFAULT) -> tuple[Item, Book]:
    """The scene of an XML file, and its objects by id.

    Raises:
        FileError: names file, line and element.
    """
    reader = _Reader(path, limits)
    root = reader.parse(path)
    if root.tag != "scene":
        raise FileError(root.where, f"the first element is {root.tag!r:.40}, expected a scene")
    version = root.attributes.get("version", "")
    reader.old = version[:2] in ("0.", "1.")
    return reader.item(root, "scene"), reader.book


class _Reader:
    """Elements of several files, turned into objects."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.root, self.limits = path.parent, limits
        self.book, self.defaults, self.elements, self.files, self.old = Book(), {}, 0, 0, False
        self.open = [path.resolve()]  # the file that is read, and those that include it

    def parse(self, path: Path) -> Element:
        """The root element of a file."""
        data = read_bytes(path, replace(self.limits, bytes=min(self.limits.bytes, LARGEST_XML)))
        parser = expat.ParserCreate()
        open_elements: list[Element] = []
        found: list[Element] = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            self.elements += 1
            element = Element(tag, attributes, path, parser.CurrentLineNumber)
            if self.elements > MOST_ELEMENTS or len(open_elements) >= self.limits.depth:
                raise FileError(element.where, f"more than {MOST_ELEMENTS} elements, or {self.limits.depth} levels")
            (open_elements[-1].children if open_elements else found).append(element)
            open_elements.append(element)

        def end(tag: str) -> None:
            open_elements.pop()

        def refuse(*arguments: object) -> None:
            raise FileError(at(path, parser.CurrentLineNumber), "holds a DOCTYPE", "take it and its entities out")

        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.StartDoctypeDeclHandler = refuse
        parser.EntityDeclHandler = refuse
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            what = f"is no valid XML: {expat.ErrorString(error.code)}"
            raise FileError(at(path, error.lineno), what, "is it cut off?") from error
        except (ValueError, LookupError) as error:  # an encoding that Python does not know
            raise FileError(path, f"is no valid XML: {error}", "save it as UTF-8") from error
        return found[0]

    def attributes(self, element: Element) -> dict[str, str]:
        """Attributes with the defaults put in."""

        def put(match: re.Match) -> str:
            if match[1] not in self.defaults:
                raise FileError(element.where, f"no default gives ${match[1]}"[:200], "add one before it is used")
            return self.defaults[match[1]]

        filled = {}
        for name, value in element.attributes.items():
            filled[name] = _DEFAULT.sub(put, value) if "$" in value else value
            if len(filled[name]) > self.limits.text_line:
                raise FileError(element.where, f"{name} has more than {self.limits.text_line} characters")
        return filled

    def item(self, element: Element, name: str) -> Item:
        """An object with everything in it."""
        given = self.attributes(element)
        if element.tag != "scene" and not given.get("type"):
            raise FileError(element.where, f"{element.tag} has no type", 'write type="..."')
        made = Item(element.tag, given.get("type", "scene"), given.get("id", name), element.where, folder=self.root)
        if given.get("id") and element.tag != "scene":
            self.book.enter(given["id"], made)
        self.fill(made, element)
        return made

    def fill(self, owner: Item, element: Element) -> None:
        for index, child in enumerate(element.children):
            tag = child.tag
            if (tag in OBJECTS and tag != "scene") or (tag == "spectrum" and "type" in child.attributes):
                given = self.attributes(child)
                name = self.called(given.get("name") or given.get("id") or f"{tag}_{index}")
                owner.children.append((name, self.item(child, name)))
            elif tag in PROPERTIES:
                self.property(owner, child)
            elif tag == "ref":
                given = self.attributes(child)
                id = self.wanted(child, given, "id")
                owner.children.append((self.called(given.get("name") or id), Reference(id, child.where)))
            elif tag == "default":
                given = self.attributes(child)
                self.defaults.setdefault(self.wanted(child, given, "name"), self.wanted(child, given, "value"))
            elif tag == "alias":
                given = self.attributes(child)
                self.book.aliases[self.wanted(child, given, "as")] = self.wanted(child, given, "id")
            elif tag == "include":
                self.include(owner, child)
            else:
                known = [*OBJECTS, *PROPERTIES, *DIRECTIONS]
                raise FileError(child.where, f"unknown element {tag!r:.60}", nearest(tag[:60], known))

    def include(self, owner: Item, element: Element) -> None:
        name = self.wanted(element, self.attributes(element), "filename")
        self.files += 1
        path = resolve(self.root, name, f"{element.where} include")
        if path in self.open:
            raise FileError(element.where, f"includes {name!r:.80}, in which it stands itself", "break the cycle")
        if self.files > MOST_FILES or len(self.open) > DEEPEST:
            what = f"is one of more than {MOST_FILES} included files, or more than {DEEPEST} deep"
            raise FileError(element.where, what, "join some of them")
        self.open.append(path)
        root = self.parse(path)
        self.fill(owner, root if root.tag == "scene" else Element("scene", {}, path, root.line, [root]))
        self.open.pop()

    def property(self, owner: Item, element: Element) -> None:
        given = self.attributes(element)
        name = self.called(self.wanted(element, given, "name"))
        if name in owner.values:
            raise FileError(element.where, f"{name!r:.60} is given twice")
        owner.values[name] = self.value(element, given)

    def value(self, element: Element, given: dict[str, str]):
        tag = element.tag
        if tag == "transform":
            return self.transform(element)
        if tag in ("point", "vector") and "value" not in given:
            return np.array([self.number(element, given.get(axis, "0")) for axis in "xyz"])
        if tag == "spectrum" and "filename" in given:
            path = resolve(self.root, given["filename"], f"{element.where} spectrum")
            return {"wavelengths": read_spectrum(path, self.limits)}
        text = self.wanted(element, given, "value")
        if tag == "string":
            return text
        if tag == "boolean":
            if text.strip() not in ("true", "false"):
                raise FileError(element.where, f"is {text!r:.60}, expected true or false")
            return text.strip() == "true"
        if tag == "spectrum" and ":" in text:
            return self.spectrum(element, text)
        numbers = self.numbers(element, text)
        if tag == "integer":
            if len(numbers) != 1 or numbers[0] != int(numbers[0]) or abs(numbers[0]) > LARGEST_INTEGER:
                raise FileError(element.where, f"is {text!r:.60}, expected a whole number")
            return int(numbers[0])
        if tag in ("float", "spectrum"):
            if len(numbers) == 1:
                return numbers[0]
            raise FileError(element.where, f"is {text!r:.60}, expected one number")
        if tag == "rgb" and len(numbers) == 1:
            return np.full(3, numbers[0])
        if len(numbers) != 3:
            raise FileError(element.where, f"is {text!r:.60}, expected three numbers")
        return np.array(numbers)

    def spectrum(self, element: Element, text: str) -> dict[str, object]:
        """Values at wavelengths in nm."""
        pairs = [pair.split(":") for pair in text.replace(",", " ").split()]
        if len(pairs) > MOST or any(len(pair) != 2 for pair in pairs):
            raise FileError(element.where, f"is {text!r:.60}, expected wavelength:value pairs")
        return {"wavelengths": [[self.number(element, part) for part in pair] for pair in pairs]}

    def transform(self, element: Element) -> np.ndarray:
        made = np.eye(4)
        for child in element.children:
            given = self.attributes(child)
            made = self.step(child, given) @ made
        if not np.isfinite(made).all() or np.abs(made).max() > LARGEST_COORDINATE:
            raise FileError(element.where, "transform has numbers that are not finite or too large")
        return made

    def step(self, element: Element, given: dict[str, str]) -> np.ndarray:
        tag, where = element.tag, element.where
        if tag in ("lookat", "look_at", "lookAt"):
            up = self.numbers(element, given.get("up", "0 1 0"))
            ends = [self.numbers(element, self.wanted(element, given, key)) for key in ("origin", "target")]
            if any(len(vector) != 3 for vector in (*ends, up)):
                raise FileError(where, "lookat takes three numbers each for origin, target and up")
            return look_at(ends[0], ends[1], up, where)
        if tag == "matrix":
            numbers = self.numbers(element, self.wanted(element, given, "value"))
            if len(numbers) not in (9, 16):
                raise FileError(where, f"matrix has {len(numbers)} numbers, expected 16 or 9")
            side = int(len(numbers) ** 0.5)
            made = np.eye(4)
            made[:side, :side] = np.reshape(numbers, (side, side))
            return made
        if tag not in ("translate", "rotate", "scale"):
            known = ("translate", "rotate", "scale", "matrix", "lookat")
            raise FileError(where, f"unknown transform {tag!r:.60}", nearest(tag[:60], known))
        if "value" in given:
            values = self.numbers(element, given["value"])
            values = values * 3 if len(values) == 1 and tag == "scale" else values
        else:
            other = "1" if tag == "scale" else "0"
            values = [self.number(element, given.get(axis, other)) for axis in "xyz"]
        values = [*values, 0.0 if tag != "scale" else 1.0] if len(values) == 2 else values
        if len(values) != 3:
            raise FileError(where, f"{tag} has {len(values)} numbers, expected three")
        if tag == "rotate":
            return rotate(values, self.number(element, self.wanted(element, given, "angle")), where)
        return translate(values) if tag == "translate" else scale(values)

    def numbers(self, element: Element, text: str) -> list[float]:
        return [self.number(element, word) for word in text.replace(",", " ").split()]

    def number(self, element: Element, text: str) -> float:
        try:
            value = float(text) if len(text) < 400 and "_" not in text else float("nan")
        except ValueError:
            value = float("nan")
        if not abs(value) <= LARGEST_COORDINATE:
            raise FileError(element.where, f"{element.tag} holds {text!r:.60}, expected a finite number")
        return value

    def wanted(self, element: Element, given: dict[str, str], key: str) -> str:
        if key not in given:
            raise FileError(element.where, f"{element.tag} has no {key}", f'write {key}="..."')
        return given[key]

    def called(self, name: str) -> str:
        """A property's name; scenes of versions before 2 write toWorld for to_world."""
        return re.sub(r"(?<=[a-z])([A-Z])", lambda match: "_" + match[1].lower(), name) if self.old else name
