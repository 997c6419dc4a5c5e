"""The kinds of values that stand in a scene file, and what every table has in common."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from .guard import LARGEST_COORDINATE

Number = Annotated[float, Field(ge=-LARGEST_COORDINATE, le=LARGEST_COORDINATE, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_COORDINATE, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=65536)]


def vector(kind: Any, length: int) -> Any:
    """A type: a list of so many."""
    return Annotated[list[kind], Field(min_length=length, max_length=length)]


Vector2, Vector3, Vector4 = (vector(Number, length) for length in (2, 3, 4))


def is_number(value: object) -> bool:
    """Whether the value is a finite number of a size that a scene can use (no bool)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_COORDINATE


def one_or_many(length: int, low: float, expected: str) -> Any:
    """A type: one number, which stands for all, or a list of `length`; each at least `low`."""

    def read(value: Any) -> list[float]:
        values = value if isinstance(value, list) else [value] * length
        good = len(values) == length and all(is_number(item) and item >= low for item in values)
        if not good:
            raise PydanticCustomError("numbers", "expected {what}", {"what": expected})
        return [float(item) for item in values]

    return Annotated[list[float], BeforeValidator(read)]


Light3 = one_or_many(3, 0.0, "a number or RGB [r, g, b], not negative")


class Table(BaseModel):
    """A table of the file: strict types, no unknown key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)
