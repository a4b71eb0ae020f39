"""ultralytics' own training of variants, on a handful of images: an epoch, resume, reload, prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reconfig.errors import PlanError, RuleError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]  # it warns of much that is its own

CLASSES = ("left", "right")
SIZE = 32


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """ultralytics with settings of its own, and without a look at the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setenv("YOLO_AUTOINSTALL", "false")
        yield pytest.importorskip("ultralytics")


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for seed, name in enumerate(CLASSES):
            for number in range(2):
                picture(tmp_path / "images" / part / name / f"{number}.png", 10 * seed + number)
    return tmp_path / "images"


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for number in range(2):
            picture(tmp_path / "boxes" / "images" / part / f"{number}.png", number)
            label = tmp_path / "boxes" / "labels" / part / f"{number}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.5 0.5 0.4 0.4\n")
    file = tmp_path / "boxes" / "data.yaml"
    file.write_text(f"path: {file.parent}\ntrain: images/train\nval: images/val\nnames: [left, right]\n")
    return file


def options(data: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "data": str(data),
        "epochs": 1,
        "imgsz": SIZE,
        "batch": 2,
        "workers": 0,
        "device": "cpu",
        "amp": False,
        "plots": False,
        "verbose": False,
        "project": str(out),
        "name": "run",
        "exist_ok": True,
        "optimizer": "SGD",
        **more,
    }


def count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_classifier_trains_resumes_and_loads(library: Any, folders: Path, tmp_path: Path) -> None:
    from ultralytics.models.yolo.classify import ClassificationTrainer

    from reconfig.plugins.ultralytics import trainer

    robust = trainer(ClassificationTrainer, "10-10-4")
    model = library.YOLO("yolo11n-cls.yaml")
    before = count(model.model)
    model.train(trainer=robust, **options(folders, tmp_path / "runs", epochs=2))
    saved = tmp_path / "runs" / "run" / "weights" / "last.pt"
    again = library.YOLO(saved)
    assert count(again.model) == count(model.trainer.model) < 0.6 * before
    (found,) = again.predict(str(folders / "val" / "left" / "0.png"), imgsz=SIZE, verbose=False)
    assert found.probs.data.shape == (2,)
    further = library.YOLO(saved)
    further.train(trainer=robust, **options(folders, tmp_path / "more"))
    assert count(further.trainer.model) == count(again.model)
    with pytest.raises(PlanError, match=r"of a variant by rule 10-10-4, gamma 1, and this is trainer\('10-10-5'\): to"):
        library.YOLO(saved).train(
            trainer=trainer(ClassificationTrainer, "10-10-5"), **options(folders, tmp_path / "other")
        )


def test_weights_that_are_given_are_loaded(library: Any, folders: Path, tmp_path: Path) -> None:
    from ultralytics.models.yolo.classify import ClassificationTrainer

    from reconfig.plugins.ultralytics import trainer

    robust = trainer(ClassificationTrainer, "10-10-4")(
        overrides=options(folders, tmp_path / "runs", model="yolo11n-cls.yaml")
    )
    robust.data = {"nc": 2, "channels": 3}
    original = ClassificationTrainer.get_model(robust, "yolo11n-cls.yaml", None, False)
    inherited = robust.get_model("yolo11n-cls.yaml", original, False)
    assert torch.equal(inherited.model[0].conv.weight, original.model[0].conv.weight)
    again = robust.get_model("yolo11n-cls.yaml", inherited, False)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in inherited.state_dict().items())


def test_a_detector_trains_resumes_and_loads(library: Any, boxes: Path, tmp_path: Path) -> None:
    from ultralytics.models.yolo.detect import DetectionTrainer

    from reconfig.plugins.ultralytics import trainer

    robust = trainer(DetectionTrainer, "10-10-4", gamma=0.5)
    model = library.YOLO("yolov8n.yaml")
    before = count(model.model)

    class StopError(Exception):
        pass

    def stop(running: Any) -> None:
        if running.epoch == 1:
            raise StopError

    model.add_callback("on_train_epoch_start", stop)
    with pytest.raises(StopError):
        model.train(trainer=robust, **options(boxes, tmp_path / "runs", epochs=2))
    saved = tmp_path / "runs" / "run" / "weights" / "last.pt"
    resumed = library.YOLO(saved)
    resumed.train(trainer=robust, resume=True)
    assert resumed.trainer.epoch == 1
    again = library.YOLO(saved)
    assert count(again.model) == count(resumed.trainer.model) < 0.5 * before
    assert not any(vars(head).get("dynamic") for head in again.model.modules())
    (found,) = again.predict(str(boxes.parent / "images" / "val" / "0.png"), imgsz=SIZE, verbose=False)
    assert found.boxes.xyxy.shape[1] == 4


def test_bad_input_is_named(library: Any) -> None:
    from ultralytics.models.yolo.classify import ClassificationTrainer

    from reconfig.plugins.ultralytics import trainer

    with pytest.raises(
        TypeError, match=r"takes a class of trainers of ultralytics, not YOLO: write trainer\(DetectionTra"
    ):
        trainer(library.YOLO, "10-10-4")
    with pytest.raises(TypeError, match=r"trainer takes no 'gama': write gamma=\.\.\."):
        trainer(ClassificationTrainer, "10-10-4", gama=2)
    with pytest.raises(RuleError, match="a rule reads like"):
        trainer(ClassificationTrainer, "ten")
