"""An exported encoder in onnxruntime, which knows nothing of torch: the same features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch

from pipeline.errors import UserError
from pipeline.registry.packages.config import PackageConfig, Preprocessing
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.packages.files import write_package
from pipeline.registry.versions.resolve import fetch

pytestmark = pytest.mark.fast

PREP = Preprocessing(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
MODELS = {
    "resnet10t": {"num_classes": 0, "channels": [16, 16, 32, 32], "stem_width": 8},
    "vit_tiny_patch16_224": {
        **{"num_classes": 0, "img_size": 16, "patch_size": 8},
        **{"depth": 2, "embed_dim": 32, "num_heads": 2},
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_any_number_of_images_gives_the_packages_features(tmp_path: Path, name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(name, **MODELS[name])
    config = PackageConfig.of(name, MODELS[name], width=model.num_features, preprocessing=PREP)
    write_package(tmp_path / "package", config=config, weights=model.state_dict(), card="")
    fetched = fetch(str(tmp_path / "package"), tmp_path / "out", onnx=True)
    assert fetched.onnx is not None
    assert fetched.onnx.difference < 1e-4
    assert tmp_path / "out" / "encoder.onnx" in fetched.files

    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.shape[1:], given.type) == ("images", [3, 16, 16], "tensor(float)")
    ours = PackagedEncoder.load(tmp_path / "package")
    for batch in (1, 2, 7):
        images = np.random.default_rng(batch).integers(0, 256, (batch, 3, 16, 16), np.uint8)
        (features,) = session.run(["features"], {"images": images.astype(np.float32) / 255})
        with torch.no_grad():
            expected = ours(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.registry.packages import onnx_export
    from tests.registry.packages import make_package

    make_package(tmp_path / "package", seed=0)
    monkeypatch.setattr(onnx_export, "_NEEDED", ("onnx", "of_nobody"))
    with pytest.raises(UserError, match=r"--onnx: needs of_nobody: pip install 'ssl-on-ray\[onnx"):
        fetch(str(tmp_path / "package"), tmp_path / "out", onnx=True)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
