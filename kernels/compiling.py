"""How kernels are compiled."""

import functools
from collections.abc import Callable
from typing import Any

from taichi.lang import impl


def large(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """For kernels of thousands of lines once all is inlined, written above `@ti.kernel`.

    Leaves their optimisation to the backend's compiler. Taichi's own takes more time than all the rest, longer by more
    than the code's length, and what comes out of large kernels runs no faster; small ones gain 5 %.
    """

    @functools.wraps(kernel)
    def launch(*arguments: Any) -> Any:
        config = impl.current_cfg()
        held = config.advanced_optimization
        config.advanced_optimization = False
        try:
            return kernel(*arguments)
        finally:
            config.advanced_optimization = held

    return launch
