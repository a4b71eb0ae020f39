from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from reconfig.harness.data.augmentation import as_floats, augment, rotate
from reconfig.harness.data.dataset import load_dataset, with_extra
from reconfig.harness.data.division import hold_out
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


def encoded(image: np.ndarray, format: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format)
    return buffer.getvalue()


def write_parquet(path: Path, images: list[bytes], labels: list[object], **names: str) -> None:
    columns = {
        names.get("image", "img"): [{"bytes": image, "path": None} for image in images],
        names.get("label", "label"): labels,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def parquet_folder(folder: Path) -> Path:
    images = [encoded(image) for image in COLOURS]
    write_parquet(folder / "train-00000-of-00002.parquet", images[:16], [i % 4 for i in range(16)])
    write_parquet(folder / "train-00001-of-00002.parquet", images[16:32], [i % 4 for i in range(16)])
    write_parquet(folder / "test-00000-of-00001.parquet", images[32:], [i % 4 for i in range(8)])
    return folder


def write_batch(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def cifar_folder(folder: Path) -> Path:
    rows = COLOURS.transpose(0, 3, 1, 2).reshape(40, -1)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, part in zip(names, np.array_split(rows, 6), strict=True):
        labels = [i % 4 for i in range(len(part))]
        write_batch(folder / "cifar-10-batches-py" / name, {b"data": part, b"labels": labels})
    return folder


def image_folder(folder: Path) -> Path:
    for split, first, count in (("train", 0, 8), ("test", 32, 2)):
        for label in range(4):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i}.png").write_bytes(encoded(COLOURS[first + label * count + i]))
    return folder


LAYOUTS = {"parquet": parquet_folder, "batches": cifar_folder, "folders": image_folder}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_tensors(layout: str, tmp_path: Path) -> None:
    data = load_dataset(Data(str(LAYOUTS[layout](tmp_path))))
    assert data.classes == 4
    assert data.shape == (3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert len(data.train) + len(data.test) == 40
    together = torch.cat([data.train.images, data.test.images]).permute(0, 2, 3, 1).numpy()
    order = np.argsort(together.reshape(40, -1)[:, :8].astype(int) @ (256 ** np.arange(8, dtype=float)))
    wanted = np.argsort(COLOURS.reshape(40, -1)[:, :8].astype(int) @ (256 ** np.arange(8, dtype=float)))
    assert np.array_equal(together[order], COLOURS[wanted])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_limits_keep_the_first_images(layout: str, tmp_path: Path) -> None:
    folder = str(LAYOUTS[layout](tmp_path))
    whole, part = load_dataset(Data(folder)), load_dataset(Data(folder, train_limit=5, test_limit=4))
    assert (len(part.train), len(part.test)) == (5, 4)
    assert torch.equal(part.train.images, whole.train.images[:5])
    assert torch.equal(part.test.labels, whole.test.labels[:4])
    assert whole.fingerprint() != part.fingerprint()


def test_image_folders_go_round_the_classes(tmp_path: Path) -> None:
    data = load_dataset(Data(str(image_folder(tmp_path))))
    assert data.train.labels[:8].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert torch.equal(data.train.images[1], torch.from_numpy(COLOURS[8]).permute(2, 0, 1))


def test_val_serves_as_test(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    assert len(load_dataset(Data(str(tmp_path))).test) == 8


def test_a_folder_inside_is_found(tmp_path: Path) -> None:
    parquet_folder(tmp_path / "plain_text")
    assert len(load_dataset(Data(str(tmp_path))).train) == 32


def test_hub_column_names(tmp_path: Path) -> None:
    images = [encoded(image) for image in COLOURS[:4]]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", images, [0, 1, 2, 3], image="image", label="fine_label")
    assert load_dataset(Data(str(tmp_path))).classes == 4


def test_grey_images_become_colour_images(tmp_path: Path) -> None:
    images = [encoded(image[:, :, 0]) for image in COLOURS[:2]]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", images, [0, 1])
    pixels = load_dataset(Data(str(tmp_path))).train.images
    assert torch.equal(pixels[:, 0], torch.from_numpy(COLOURS[:2, :, :, 0]))
    assert torch.equal(pixels[:, 0], pixels[:, 2])


def test_the_environment_names_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONFIG_DATA", str(parquet_folder(tmp_path / "a")))
    assert len(load_dataset(Data(None)).train) == 32
    assert "digits" in load_dataset(Data("digits")).name  # the argument goes first


def test_digits() -> None:
    data = load_dataset(Data("digits"))
    assert (len(data.train), len(data.test), data.classes, data.shape) == (1438, 359, 10, (3, 32, 32))
    assert data.train.images.max() == 255
    assert data.train.labels.bincount().min() > 100
    assert data.test.labels.bincount().min() > 20
    assert data.fingerprint() == load_dataset(Data("digits")).fingerprint()


def test_real_cifar(cifar_path: Path) -> None:
    data = load_dataset(Data(str(cifar_path), train_limit=500, test_limit=100))
    assert (data.classes, data.shape) == (10, (3, 32, 32))
    assert data.train.labels.bincount().min() >= 20
    # The channel means of CIFAR-10 are 0.491, 0.482 and 0.447.
    means = as_floats(data.train.images).mean((0, 2, 3))
    assert torch.allclose(means, torch.tensor([0.491, 0.482, 0.447]), atol=0.03)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.usefixtures("offline")
def test_no_data_at_all() -> None:
    with pytest.raises(DataError, match=r"neither --data nor the environment variable RECONFIG_DATA") as error:
        load_dataset(Data(None))
    assert "CIFAR10('data', download=True)" in str(error.value)
    assert "--data digits" in str(error.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist\.\nGet CIFAR-10 with"):
        load_dataset(Data(str(tmp_path / "nowhere")))


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file is a file, not a folder"):
        load_dataset(Data(str(tmp_path / "file")))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no known data set\. Looked for: files train-\*\.parquet"):
        load_dataset(Data(str(tmp_path)))


def damage(path: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder / path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    path.write_bytes(content)


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


TRAIN, TEST = "train-00000-of-00002.parquet", "test-00000-of-00001.parquet"
BATCH = "cifar-10-batches-py/data_batch_2"
PIXELS = np.zeros((4, 3072), np.uint8)


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("parquet", damage(TEST, Path.unlink), r"has no test-\*\.parquet"),
        ("parquet", damage(TRAIN, truncate), rf"{TRAIN} is truncated or no parquet file"),
        ("parquet", damage(TRAIN, overwrite_middle), rf"{TRAIN}"),
        ("parquet", damage(TRAIN, lambda path: path.write_bytes(b"")), rf"{TRAIN} is truncated"),
        (
            "parquet",
            damage(TRAIN, lambda path: write_parquet(path, [encoded(COLOURS[0])], [1], label="answer")),
            rf"{TRAIN} has the columns img, answer; one of label or fine_label is needed",
        ),
        (
            "parquet",
            damage(TRAIN, lambda path: write_parquet(path, [encoded(COLOURS[0]), b"no image"], [0, 1])),
            rf"{TRAIN}, row 1 is no readable image",
        ),
        (
            "parquet",
            damage(TRAIN, lambda path: write_parquet(path, [encoded(COLOURS[0])[:900]], [0])),
            rf"{TRAIN}, row 0 is no readable image: image file is truncated",
        ),
        (
            "parquet",
            damage(TRAIN, lambda path: write_parquet(path, [encoded(COLOURS[0][:16])], [0])),
            r"00001-of-00002\.parquet, row 0 is 32x32 pixels and the images before it are 32x16",
        ),
        (
            "parquet",
            damage(TRAIN, lambda path: write_parquet(path, [encoded(COLOURS[0])], ["cat"])),
            rf"{TRAIN}, row 0: column label holds 'cat', not a class number",
        ),
        (
            "parquet",
            damage(TRAIN, lambda path: write_parquet(path, [encoded(COLOURS[0])], [-1])),
            r"the train split has the label -1; classes count from 0",
        ),
        (
            "parquet",
            damage(TEST, lambda path: write_parquet(path, [encoded(COLOURS[0])], [7])),
            r"the test split has the label 7, but the training images read have only 0 to 3",
        ),
        (
            "parquet",
            damage(TEST, lambda path: write_parquet(path, [encoded(COLOURS[0][:16])], [0])),
            r"training images have 32x32 pixels and test images 32x16",
        ),
        (
            "parquet",
            damage(TEST, lambda path: write_parquet(path, [], [])),
            r"the test split is empty|column",
        ),
        ("batches", damage(BATCH, Path.unlink), rf"{BATCH} is missing; get it with torchvision"),
        ("batches", damage(BATCH, truncate), rf"{BATCH} is damaged or no pickle of arrays"),
        ("batches", damage(BATCH, lambda path: write_batch(path, [1, 2])), rf"{BATCH} is damaged"),
        (
            "batches",
            damage(BATCH, lambda path: write_batch(path, {b"data": PIXELS[:, :99], b"labels": [0] * 4})),
            rf"{BATCH} holds data of uint8 \[4, 99\] for 4 labels; uint8 \[4, 3072\] is needed",
        ),
        (
            "batches",
            damage(BATCH, lambda path: write_batch(path, {b"data": PIXELS, b"labels": [0] * 3})),
            rf"{BATCH} holds data of uint8 \[4, 3072\] for 3 labels",
        ),
        (
            "batches",
            damage(BATCH, lambda path: write_batch(path, {b"data": PIXELS.astype(float), b"labels": [0] * 4})),
            rf"{BATCH} holds data of float64",
        ),
        (
            "batches",
            damage(BATCH, lambda path: write_batch(path, {b"data": PIXELS, b"labels": np.array(["cat"] * 4)})),
            rf"{BATCH} holds labels that are no class numbers",
        ),
        ("folders", damage("test", shutil.rmtree), r"has no folder test or val beside train"),
        ("folders", damage("train/class1/3.png", truncate), r"3\.png is no readable image"),
        ("folders", damage("test/class9", Path.mkdir), r"has the class class9, which .*train has not"),
        (
            "folders",
            damage("train/class1/0.png", lambda path: path.write_bytes(encoded(COLOURS[0][:, :9]))),
            r"class1.0\.png is 9x32 pixels and the images before it are 32x32",
        ),
        (
            "folders",
            lambda folder: [path.unlink() for path in folder.glob("test/*/*.png")],
            r"the test split is empty",
        ),
        (
            "folders",
            lambda folder: [shutil.rmtree(folder / s / f"class{i}") for s in ("train", "test") for i in (1, 2, 3)],
            r"the train split has one class",
        ),
    ],
)
def test_damage_is_named(layout: str, change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=message):
        load_dataset(Data(str(tmp_path)))


@pytest.mark.parametrize("key", [b"data", b"labels", b"anything"])
def test_a_hostile_pickle_is_not_executed(key: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cifar_folder(tmp_path)
    content = {b"data": PIXELS, b"labels": [0] * 4, key: Hostile()}
    write_batch(tmp_path / BATCH, content)
    with pytest.raises(DataError, match=r"data_batch_2 is damaged .* asks for .*, and only numpy arrays are let in"):
        load_dataset(Data(str(tmp_path)))
    assert not (tmp_path / "executed").exists()
    pickle.loads((tmp_path / BATCH).read_bytes())  # it would have been
    assert (tmp_path / "executed").exists()


# ---------------------------------------------------------------- held-out images, augmentation


def numbered(count: int) -> Split:
    """Images whose every pixel is their number."""
    return Split(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 4, 4), torch.arange(count))


def test_held_out_images_are_apart_and_depend_on_the_seed() -> None:
    train, held = hold_out(numbered(50), 10, seed=0)
    assert (len(train), len(held)) == (40, 10)
    assert sorted([*train.labels.tolist(), *held.labels.tolist()]) == list(range(50))
    assert torch.equal(held.images[:, 0, 0, 0], held.labels.to(torch.uint8))
    assert torch.equal(held.labels, hold_out(numbered(50), 10, seed=0)[1].labels)
    assert not torch.equal(held.labels, hold_out(numbered(50), 10, seed=1)[1].labels)


def test_too_much_held_out() -> None:
    with pytest.raises(DataError, match=r"data\.hold_out is 50, but there are only 50 training images"):
        hold_out(numbered(50), 50, seed=0)


def test_floats_are_in_range() -> None:
    floats = as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert torch.equal(floats, torch.tensor([0.0, 0.2, 1.0]))


def test_augmentation_is_a_crop_and_a_mirror() -> None:
    images = torch.from_numpy(COLOURS).permute(0, 3, 1, 2)
    augmented = augment(images, 4, True, torch.Generator().manual_seed(0))
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    seen = set()
    for one, source in zip(augmented, padded, strict=True):
        matches = [
            (top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for mirrored in (False, True)
            if torch.equal(one.flip(-1) if mirrored else one, source[:, top : top + 32, left : left + 32])
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 30  # every image its own
    assert {mirrored for *_, mirrored in seen} == {False, True}
    assert {0, 8} <= {top for top, *_ in seen}


@pytest.mark.parametrize("shape", [(8, 8), (6, 10)])
def test_rotation_is_torchvisions(shape: tuple[int, int]) -> None:
    images = torch.randint(1, 256, (5, 3, *shape)).to(torch.uint8)
    angles = torch.empty(5).uniform_(-20, 20, generator=torch.Generator().manual_seed(3))
    turned = rotate(images, 20, torch.Generator().manual_seed(3))
    pairs = zip(images, angles.tolist(), strict=True)
    wanted = torch.stack([functional.rotate(image, angle) for image, angle in pairs])
    assert torch.equal(turned, wanted)
    assert (turned == 0).any()
    assert torch.equal(rotate(images, 0.0, torch.Generator()), images)


def test_augmentation_can_be_nothing() -> None:
    images = torch.from_numpy(COLOURS).permute(0, 3, 1, 2)
    assert torch.equal(augment(images, 0, False, torch.Generator()), images)


def test_augmentation_comes_from_the_generator_alone() -> None:
    images = torch.from_numpy(COLOURS).permute(0, 3, 1, 2)
    first, again, other = (augment(images, 4, True, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# ---------------------------------------------------------------- extra images

EXTRA_LABELS = np.arange(40) % 4


def extra_parquet(path: Path, images: np.ndarray = COLOURS, labels: np.ndarray = EXTRA_LABELS) -> Path:
    path = path.with_suffix(".parquet")
    write_parquet(path, [encoded(image) for image in images], labels.tolist())
    return path


def extra_npz(path: Path, images: np.ndarray = COLOURS, labels: np.ndarray = EXTRA_LABELS) -> Path:
    np.savez(path.with_suffix(".npz"), image=images, label=labels)
    return path.with_suffix(".npz")


def extra_pickle(path: Path, images: np.ndarray = COLOURS, labels: np.ndarray = EXTRA_LABELS) -> Path:
    path = path.with_suffix(".pickle")
    path.write_bytes(pickle.dumps({"data": images, "extrapolated_targets": labels}))
    return path


EXTRA = {"parquet": extra_parquet, "npz": extra_npz, "pickle": extra_pickle}


@pytest.mark.parametrize("kind", EXTRA)
def test_extra_images(kind: str, tmp_path: Path) -> None:
    data = load_dataset(Data(str(cifar_folder(tmp_path))))
    more = with_extra(data, str(EXTRA[kind](tmp_path / "more")))
    assert more.extra is not None
    assert torch.equal(more.extra.images, torch.from_numpy(COLOURS).permute(0, 3, 1, 2))
    assert more.extra.labels.tolist() == EXTRA_LABELS.tolist()
    assert more.extra.labels.dtype == torch.int64
    assert more.train is data.train
    again = load_dataset(Data(str(tmp_path), extra=str(tmp_path / f"more.{kind}")))
    assert again.extra_fingerprint() == more.extra_fingerprint() is not None
    assert data.extra_fingerprint() is None
    assert more.fingerprint() == data.fingerprint()  # who attacks a network later needs no extra images
    changed = EXTRA[kind](tmp_path / "changed", labels=EXTRA_LABELS[::-1])
    assert with_extra(data, str(changed)).extra_fingerprint() != more.extra_fingerprint()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none.npz", r"the file of extra images .*none\.npz does not exist"),
        (lambda p: p, r"is no file of extra images: its name must end in \.parquet, \.npz, \.pickle"),
        (lambda p: extra_npz(p / "a", COLOURS.astype(np.float32)), r"image is float32 \[40, 32, 32, 3\]; uint8 \[N"),
        (lambda p: extra_npz(p / "a", COLOURS.transpose(0, 3, 1, 2)), r"image is uint8 \[40, 3, 32, 32\]; uint8"),
        (lambda p: extra_pickle(p / "a", COLOURS[0]), r"data is uint8 \[32, 32, 3\]; uint8 \[N, H, W, 3\] is needed"),
        (
            lambda p: extra_npz(p / "a", labels=EXTRA_LABELS[:39]),
            r"label is int64 \[39\] for 40 images; integers \[40\]",
        ),
        (lambda p: extra_npz(p / "a", labels=EXTRA_LABELS / 2), r"label is float64 \[40\] for 40 images"),
        (lambda p: extra_npz(p / "a", COLOURS[:0], EXTRA_LABELS[:0]), r"a\.npz holds no images"),
        (lambda p: extra_parquet(p / "a", COLOURS[:0], EXTRA_LABELS[:0]), r"a\.parquet"),
        (lambda p: extra_npz(p / "a", COLOURS[:, ::2]), r"extra images have 32x16 pixels, those of .* 32x32"),
        (lambda p: extra_npz(p / "a", labels=EXTRA_LABELS - 1), r"labels from -1 to 2, but .* has 4 classes, 0 to 3"),
        (lambda p: extra_pickle(p / "a", labels=EXTRA_LABELS + 1), r"labels from 1 to 4, but .* has 4 classes"),
        (lambda p: extra_npz(p / "a", np.array([{}])), r"a\.npz is damaged or no npz of arrays"),
    ],
)
def test_extra_images_that_do_not_fit(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    data = load_dataset(Data(str(cifar_folder(tmp_path))))
    with pytest.raises(DataError, match=message):
        with_extra(data, str(make(tmp_path)))


def test_extra_files_that_are_something_else(tmp_path: Path) -> None:
    data = load_dataset(Data(str(cifar_folder(tmp_path))))
    np.savez(tmp_path / "other.npz", pictures=COLOURS)
    with pytest.raises(DataError, match=r"other\.npz holds pictures; image and label are needed"):
        with_extra(data, str(tmp_path / "other.npz"))
    whole = extra_npz(tmp_path / "cut").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:5000])
    with pytest.raises(DataError, match=r"cut\.npz is damaged or no npz of arrays"):
        with_extra(data, str(tmp_path / "cut.npz"))
    (tmp_path / "code.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"code\.pickle .*asks for os\.system"):
        with_extra(data, str(tmp_path / "code.pickle"))
