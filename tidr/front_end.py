"""Shortcuts through the front end of Taichi 1.7, which turns Python functions into its own.

A kernel of light transport inlines functions hundreds of times. For each of these places Taichi looks for the
function's source, parses it, and draws error messages that nobody sees; for each decorator it looks through every
module that was imported. That was half of the time until a kernel ran. For each array it takes down who asked for it,
and for each copy to or from numpy it launches a kernel: half of the time that a scene of many nodes took to load. What
comes out is the same.
"""

import ast
import ctypes
import functools
import gc
import linecache
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np


def shorten(kernel_impl: Any, context: type) -> None:
    """Take the shortcuts in Taichi's modules."""
    context.get_pos_info = _position  # type: ignore
    for name in ("getsourcefile", "getsourcelines"):
        setattr(kernel_impl, name, functools.cache(getattr(kernel_impl, name)))
    kernel_impl.textwrap = SimpleNamespace(fill=functools.cache(textwrap.fill), dedent=functools.cache(textwrap.dedent))
    trees = _Trees(kernel_impl.transform_tree)
    kernel_impl.ast, kernel_impl.transform_tree = SimpleNamespace(parse=trees.parse), trees.transform
    patterns = kernel_impl._KERNEL_CLASS_STACKFRAME_STMT_RES
    kernel_impl._inside_class = functools.partial(_inside_class, patterns)


def copy_directly(ndarrays: Any, impl: Any, start: Callable[[], int]) -> None:
    """Have ndarrays of numbers copied from and to numpy by the machine where their memory is the host's.

    start: the number of the start of Taichi that runs now; 0 where it runs on no CPU.
    """
    ndarrays.get_traceback = lambda *_: ""
    kind: Any = ndarrays.ScalarNdarray
    begin, upload, download = kind.__init__, kind.from_numpy, kind.to_numpy

    def place(array: Any) -> int:
        """The address of the memory; 0 where Taichi has to copy, or to say that it started again since."""
        made = getattr(array, "start", 0)  # a program may have made arrays before it came to tidr
        if made == 0 or made != start():
            return 0
        return impl.get_runtime().prog.get_ndarray_data_ptr_as_int(array.arr)

    def __init__(self: Any, dtype: Any, shape: Any) -> None:
        begin(self, dtype, shape)
        self.start, self.numpy_type = start(), np.dtype(ndarrays.to_numpy_type(self.dtype))

    def from_numpy(self: Any, array: Any) -> None:
        same = isinstance(array, np.ndarray) and array.dtype == self.numpy_type and array.shape == self.shape
        at = place(self) if same and array.flags.c_contiguous else 0
        if at:
            ctypes.memmove(at, array.ctypes.data, array.nbytes)
        else:
            upload(self, array)

    def to_numpy(self: Any) -> np.ndarray:
        at = place(self)
        if not at:
            return download(self)
        array = np.empty(self.shape, self.numpy_type)
        ctypes.memmove(array.ctypes.data, at, array.nbytes)
        return array

    kind.__init__, kind.from_numpy, kind.to_numpy = __init__, from_numpy, to_numpy


def _position(context: Any, node: Any) -> str:
    """Where an expression of a kernel stands, without a picture of the line."""
    return f'File "{context.file}", line {node.lineno + context.lineno_offset}, in {context.func.func.__name__}:\n'


def _inside_class(patterns: tuple, level_of_class_stackframe: int) -> bool:
    """Whether the line that runs so many frames above begins a class."""
    try:
        frame = sys._getframe(level_of_class_stackframe)
    except ValueError:  # a kernel of a script's own, right at its top
        return False
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip()
    return any(pattern.match(line) for pattern in patterns)


class _Trees:
    """Parsed functions. Within one kernel a tree serves every place of its function, one after the other: Taichi writes
    what it makes of a place into the tree's nodes, and anew for the next."""

    def __init__(self, transform: Any) -> None:
        self._transform, self._free = transform, defaultdict(list)

    def parse(self, source: str) -> ast.Module:
        free = self._free[source]
        tree: Any = free.pop() if free else ast.parse(source)
        tree.source = source
        return tree

    def transform(self, tree: Any, context: Any) -> Any:
        if not context.is_kernel:
            made = self._transform(tree, context)
            if not context.is_real_function:  # Taichi takes the arguments out of the tree of a function that is called
                self._free[tree.source].append(tree)
            return made
        collects = gc.isenabled()
        gc.disable()  # hundreds of thousands of nodes, none of them garbage yet
        try:
            return self._transform(tree, context)
        finally:
            self._free.clear()
            if collects:
                gc.enable()
