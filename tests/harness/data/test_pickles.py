"""Arrays come out of a pickle, and nothing that it names is called."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from reconfig.harness.data.pickles import read_arrays
from reconfig.harness.files import DataError

ARRAYS = {
    "data": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "targets": np.array([3, 1], np.int64),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(3, dtype=">i4"),
    "half": np.array([0.5], np.float16),
    "empty": np.empty((0, 3), np.float32),
    "yes": np.array([True, False]),
    "names": np.array([b"cat", b"horse"]),
    "texts": np.array(["γ", "cat"]),
    "scalar": np.array(7),
}


def save(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back(protocol: int, tmp_path: Path) -> None:
    read = read_arrays(save(tmp_path / "a", ARRAYS, protocol))
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype, name
        np.testing.assert_array_equal(read[name], array)
        read[name].flags.writeable or pytest.fail(f"{name} cannot be written to")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_lists_of_integers_become_arrays_and_the_rest_is_left_out(protocol: int, tmp_path: Path) -> None:
    lists = {b"labels": [3, 1], "scalars": [np.int64(2), np.int64(5)], "none": []}
    rest = {
        "names": [b"a", b"bc"],
        "text": "x",
        "n": 4,
        "deep": [[1, 2], [3]],
        "parts": [0.5, 1],
        "yes": [True],
        "no": None,
    }
    read = read_arrays(save(tmp_path / "a", lists | rest, protocol))
    assert {name: array.tolist() for name, array in read.items()} == {"labels": [3, 1], "scalars": [2, 5], "none": []}
    assert read["labels"].dtype == np.int64


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """Byte strings as names, type codes and byte orders, as in cifar-10-batches-py."""
    content = (
        b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x06abcdeftbs."
    )
    (tmp_path / "a").write_bytes(content)
    assert read_arrays(tmp_path / "a")["data"].tolist() == [[97, 98, 99], [100, 101, 102]]


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


OBJECTS = np.array([{}, None], dtype=object)
RECORDS = np.zeros(2, [("a", "i4"), ("b", "O")])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"data": Call(os.mkdir, "executed")}, r"asks for posix\.mkdir, and only numpy arrays are let in"),
        ({"data": Call(eval, "open('executed', 'w')")}, r"asks for .*builtins.*\.eval, and only"),
        ({"data": Call(np.load, "executed")}, r"asks for numpy\.load, and only"),
        ({"data": OBJECTS}, "entries of type 'O8', not numbers or text"),
        ({"data": RECORDS}, "entries of type 'V12', not numbers or text"),
        ({"data": Call(np.ndarray, (10**12,))}, "takes 0 positional arguments"),
        ({"data": Path("a")}, r"asks for pathlib\.PosixPath"),
        ({3: ARRAYS["data"]}, "it holds 3 where a text is needed"),
        ([ARRAYS["data"]], "it holds a list, not a dictionary of arrays"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_else_is_refused(value: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "a.pickle", value)
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"a\.pickle is damaged or no pickle of arrays: .*{message}"):
        read_arrays(path)
    assert os.listdir(tmp_path) == ["a.pickle"]
    assert path.read_bytes() == before


NDARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
RECORD_STATE = b"(K\x03X\x01\x00\x00\x00|NX\x01\x00\x00\x00aNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
U1 = b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (NDARRAY + b"(K\x01K\x09\x85" + U1 + b"\x89C\x03abctb", r"cannot reshape array of size 3 into shape \(9,\)"),
        (NDARRAY + b"(K\x01K\x01\x85" + U1 + b"\x89]tb", "a bytes-like object is required, not 'list'"),
        # BUILD on what a name stands for, to change what later pickles get.
        (b"cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb", "no attribute '__dict__'"),
        (b"cnumpy\ndtype\nN}X\x08\x00\x00\x00__call__K\x01s\x86b", "read-only"),
        (b"cnumpy\ndtype\n)\x81", "not a type object"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R", "asks for the encoding 'rot13'"),
        (b"\x82\x01", "unregistered extension code"),
        (b"X\x01\x00\x00\x00aQ", "persistent"),
    ],
)
def test_a_pickle_written_by_hand_is_refused(program: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80\x03}X\x04\x00\x00\x00data" + program + b"s.")
    with pytest.raises(DataError, match=message):
        read_arrays(tmp_path / "a")


@pytest.mark.parametrize("left", [0, 1, 10, 50, 200, -1])
def test_truncation_is_named(left: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a", ARRAYS)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        DataError,
        match=r"a is damaged or no pickle of arrays: .*(truncated|exhausted)",
    ):
        read_arrays(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is missing"):
        read_arrays(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("program", "found"),
    [
        # A type of entries that says it were a record of objects, and a shape that says nothing.
        (NDARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + U1 + RECORD_STATE + b"\x89C\x03abctb", [97, 98, 99]),
        # A place in the memo beyond two thousand million, for which C's unpickler reserves as many pointers.
        (b"]r\xff\xff\xff\x7fK\x07a", [7]),
        (b"]r\xff\xff\xff\xffK\x07a", [7]),
    ],
)
def test_what_a_pickle_says_of_memory_is_not_believed(program: bytes, found: list[int], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x80\x03}X\x04\x00\x00\x00data" + program + b"s.")
    array = read_arrays(tmp_path / "a")["data"]
    assert array.tolist() == found
    assert array.dtype in (np.uint8, np.int64)


def test_lists_within_lists_are_not_unfolded(tmp_path: Path) -> None:
    nested: list[object] = [0]
    for _ in range(40):  # 10 ** 40 numbers, in a few hundred bytes
        nested = [nested] * 10
    assert read_arrays(save(tmp_path / "a", {"data": nested})) == {}
