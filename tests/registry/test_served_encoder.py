"""The model in MLflow: whatever images come in, by Python or by request, the same features."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow.pyfunc.scoring_server import init
from PIL import Image

from pipeline.registry.packages.encoder import PackagedEncoder
from tests.registry.packages import WIDTH, make_package, new_run, register

pytestmark = pytest.mark.fast

SHAPES = [(16, 16), (40, 25), (9, 64), (5, 5)]


def picture(shape: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A smooth one: nobody resizes noise."""
    noise = np.random.default_rng(shape[0]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(shape, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    written = io.BytesIO()
    image.save(written, kind)
    return written.getvalue()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package"), seed=0)


@pytest.fixture(scope="module")
def model(package: Path, storage: Path) -> Iterator[Any]:
    uri = f"sqlite:///{storage}/mlflow.db"
    register(package, name="served", run=new_run(uri, "served"), tags={})
    mlflow.set_tracking_uri(uri)
    yield mlflow.pyfunc.load_model("models:/served@candidate")
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def expected(package: Path) -> np.ndarray:
    """What our package makes of the pictures."""
    ours = PackagedEncoder.load(package)
    with torch.no_grad():
        found: np.ndarray = ours(ours.preprocess([picture(shape) for shape in SHAPES])).numpy()
    return found


def close(found: Any, expected: np.ndarray) -> None:
    found = np.asarray(found, dtype=np.float32)
    assert found.shape == expected.shape
    # Pixels are within 2 of 255 of ours where they are resized.
    for one, other in zip(found, expected, strict=True):
        assert np.dot(one, other) > 0.999 * np.linalg.norm(one) * np.linalg.norm(other)


def test_bytes_arrays_and_data_frames_are_taken(model: Any, expected: np.ndarray) -> None:
    files = [encoded(picture(shape)) for shape in SHAPES]
    arrays = [np.asarray(picture(shape)) for shape in SHAPES]
    for given in (
        files,
        arrays,
        pd.DataFrame({"image": files}),
        pd.DataFrame({"id": range(4), "image": files}),
        pd.DataFrame({"photo": arrays}),
        pd.Series(files),
        [base64.b64encode(file).decode() for file in files],
    ):
        found = model.predict(given)
        assert found.dtype == np.float32
        close(found, expected)
    close(model.predict(files[0]), expected[:1])
    close(model.predict(arrays[0]), expected[:1])
    close(model.predict(np.stack([arrays[0], arrays[0]])), expected[[0, 0]])


def test_images_of_the_trained_size_give_our_features_exactly(model: Any, package: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        ours = PackagedEncoder.load(package)(torch.from_numpy(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(model.predict(images), ours.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "LA", "1"])
def test_every_kind_of_image_becomes_what_training_saw(
    model: Any, package: Path, mode: str
) -> None:
    image = picture((16, 16))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    elif mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((16, 16)))
    else:
        image = image.convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    ours = PackagedEncoder.load(package)
    with torch.no_grad():
        expected = ours(ours.preprocess([Image.open(io.BytesIO(data))])).numpy()
    np.testing.assert_allclose(model.predict([data]), expected, rtol=1e-4, atol=1e-5)


def test_a_request_is_answered_with_features(model: Any, expected: np.ndarray) -> None:
    files = [base64.b64encode(encoded(picture(shape))).decode() for shape in SHAPES]
    client = TestClient(init(model))
    answer = client.post("/invocations", json={"inputs": files})
    assert answer.status_code == 200, answer.text
    close(answer.json()["predictions"], expected)


def test_the_signature_and_the_example_are_there(model: Any) -> None:
    signature = model.metadata.signature.to_dict()
    (given,) = json.loads(signature["inputs"])
    (answered,) = json.loads(signature["outputs"])
    assert (given["type"], answered["type"]) == ("binary", "array")
    assert model.predict(model.input_example).shape == (1, WIDTH)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([b"no image"], "image 0 cannot be decoded"),
        (["no base64 !"], "image 0"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)],
            r"image 1 has shape \(4, 4\)",
        ),
        (np.zeros((2, 4, 4, 3), np.float32), "image 0 is float32, allowed: whole numbers"),
        (np.full((1, 4, 4, 3), 256), "image 0 is int64, allowed: whole numbers from 0 to 255"),
        (np.zeros((2, 4)), r"shape \(2, 4\) is neither"),
        (pd.DataFrame({"a": [b""], "b": [b""]}), "there is no column image among a, b"),
        ([], "there are no images"),
        (3, "int is no image"),
    ],
)
def test_what_is_no_image_is_named(model: Any, given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        model.predict(given)
