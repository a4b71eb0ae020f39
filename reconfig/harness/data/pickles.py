"""Arrays out of a pickle that somebody else wrote, without running anything that it says.

A pickle is a program: it names functions and has them called. This reader knows the few names under which NumPy
writes arrays, and answers each with code of its own that can only make an array of numbers or text out of bytes.
Not even NumPy's own ``__setstate__`` runs, which believes what it is told about memory.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconfig.harness.files import DataError, reason

Array = NDArray[Any]

_PLAIN = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|[SU]\d+)")  # no objects, records or raw memory
_ORDERS = "<>=|"


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a pickled dictionary, by key; a list of numbers or of texts becomes an array too.

    Keys that are bytes, as Python 2 wrote them, become text. The arrays are the caller's own and can be written to.

    Raises:
        DataError: If the file is missing, truncated, holds anything but a dictionary of arrays, or asks for any other
            name; the message says which. Nothing is executed.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not a dictionary of arrays")
        return {_text(key): _array(_text(key), value) for key, value in content.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} is damaged or no pickle of arrays: {reason(error)}") from error


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise pickle.UnpicklingError(f"it holds {value!r:.40} where a text is needed")
    return value


def _array(key: str, value: object) -> Array:
    if isinstance(value, _Array):
        return value.array.copy()
    if isinstance(value, list | tuple):
        value = [item.array.item() if isinstance(item, _Array) and item.array.ndim == 0 else item for item in value]
    array = np.asarray(value)
    if not _PLAIN.fullmatch(array.dtype.str):
        raise pickle.UnpicklingError(f"{key} is no array of numbers or texts, but a {type(value).__name__}")
    return array


class _Array:
    """An array in the making: NumPy's names make it, and its state fills it."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, content = state
        self.array = _filled(content, dtype, shape, "F" if by_column else "C")


class _Dtype:
    """The type of an array's entries: numbers or text, in either byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any) -> None:
        code = _text(code)
        if not _PLAIN.fullmatch(code):
            raise pickle.UnpicklingError(
                f"it asks for entries of type {code!r:.40}, and only numbers and text are let in"
            )
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _, order, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None) or len(_text(order)) != 1 or _text(order) not in _ORDERS:
            raise pickle.UnpicklingError("it asks for entries that are records, and only numbers and text are let in")
        self.dtype = self.dtype.newbyteorder(_text(order))


def _filled(content: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """An array of this type and shape over the bytes."""
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("it has an array whose content is not plain bytes")
    shape = (shape,) if type(shape) is int else shape
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise pickle.UnpicklingError(f"it has an array of shape {shape!r:.60}")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if wanted != len(content):
        raise pickle.UnpicklingError(
            f"it has an array of {wanted} bytes {list(shape)} with {len(content)} bytes of content"
        )
    return np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if _text(order) == "F" else "C")


class _Name:
    """What a pickle gets for a name: something that it can call or hand on, and not change."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it asks to change what a name stands for")


class _Ndarray(_Name):
    """``numpy.ndarray``, only ever handed to ``_reconstruct``."""


class _MakeDtype(_Name):
    def __call__(self, code: Any, align: Any = False, copy: Any = True) -> _Dtype:
        return _Dtype(code)


class _Reconstruct(_Name):
    """An empty array, whose state comes next."""

    def __call__(self, kind: Any, shape: Any, code: Any) -> _Array:
        return _Array(np.empty(0, np.uint8))


class _FromBuffer(_Name):
    """How NumPy writes contiguous arrays since protocol 5."""

    def __call__(self, content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        return _Array(_filled(content, dtype, shape, order))


class _Scalar(_Name):
    def __call__(self, dtype: Any, content: Any) -> _Array:
        return _Array(_filled(content, dtype, (), "C"))


class _Encode(_Name):
    """How Python 3 writes bytes for protocol 2."""

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if _text(encoding) not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r:.40}")
        return str(text).encode("latin-1")


class _Empty(_Name):
    """How Python 3 writes no bytes for protocol 2."""

    def __call__(self) -> bytes:
        return b""


_NAMES: dict[tuple[str, str], type[_Name]] = {
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _MakeDtype,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("_codecs", "encode"): _Encode,
    ("__builtin__", "bytes"): _Empty,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        made = _NAMES.get((module.replace("numpy._core", "numpy.core"), name))  # NumPy 2 moved it
        if made is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only numpy arrays are let in")
        return made()
