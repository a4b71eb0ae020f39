"""Arrays out of a pickle that somebody else wrote, without running anything that it says.

A pickle is a program: it names functions and has them called. Here the few names under which NumPy writes arrays stand
for functions of this file, which put plain bytes under a checked type of entries; any other name is refused. NumPy's
own will not do: their ``__setstate__`` believes what a pickle says about memory.
"""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconfig.harness.files import DataError, reason

Array = NDArray[Any]

_PLAIN = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|[SU]\d+)")  # no objects, records or raw memory


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a pickled dictionary, by key, and its lists of integers as arrays; the rest is left out.

    Keys that are bytes, as Python 2 wrote them, become text. The arrays are the caller's own and can be written to.

    Raises:
        DataError: If the file is missing, truncated, holds anything but a dictionary, or asks for a name that is not
            NumPy's for arrays of numbers and text; the message says which. Nothing is executed.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not a dictionary of arrays")
        arrays = {_text(key): _array(value) for key, value in content.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        ends = isinstance(error, EOFError | IndexError | struct.error)
        why = "it is truncated" if ends else reason(error)
        raise DataError(f"{path} is damaged or no pickle of arrays: {why}") from error
    return {key: array for key, array in arrays.items() if array is not None}


def _array(value: object) -> Array | None:
    if isinstance(value, _Array):
        return value.array.copy()
    if not isinstance(value, list):
        return None
    numbers = [item.array.item() if isinstance(item, _Array) and item.array.ndim == 0 else item for item in value]
    return np.array(numbers, np.int64) if all(type(number) is int for number in numbers) else None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise pickle.UnpicklingError(f"it holds {value!r:.40} where a text is needed")
    return value


class _Dtype:
    """The type of an array's entries: numbers or text, in either byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not _PLAIN.fullmatch(_text(code)):
            raise pickle.UnpicklingError(f"it asks for entries of type {code!r:.40}, not numbers or text")
        self.dtype = np.dtype(_text(code))

    def __setstate__(self, state: Any) -> None:
        order: Any = _text(state[1])  # the rest is the same for all such types
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array over bytes of the pickle; NumPy's ``_reconstruct`` makes an empty one, which its state then fills."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, content = state
        self.array = _filled(content, dtype, shape, b"F" if by_column else b"C").array


def _filled(content: bytes, dtype: _Dtype, shape: Any = (), order: Any = b"C") -> _Array:
    array = np.frombuffer(content, dtype.dtype)  # takes bytes alone, and allocates nothing
    return _Array(array.reshape(shape, order="F" if _text(order) == "F" else "C"))


def _encoded(text: str, encoding: Any) -> bytes:
    """How Python 3 writes bytes for protocol 2."""
    if _text(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r:.40}")
    return text.encode("latin-1")


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): lambda: None,  # only ever handed to _reconstruct
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(np.empty(0, np.uint8)),
    ("numpy.core.multiarray", "scalar"): lambda dtype, content: _filled(content, dtype),
    ("numpy.core.numeric", "_frombuffer"): _filled,  # how NumPy writes contiguous arrays since protocol 5
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): lambda: b"",  # how Python 3 writes no bytes for protocol 2
}


class _Unpickler(pickle._Unpickler):  # by C's, four bytes could ask for a memo of 32 GB
    def find_class(self, module: str, name: str) -> Any:
        made = _NAMES.get((module.replace("numpy._core", "numpy.core"), name))  # NumPy 2 moved it
        if made is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only numpy arrays are let in")
        return made.__call__  # which a pickle can call and hand on, and not change
