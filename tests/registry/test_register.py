"""The model registry, on a real MLflow: an encoder goes in once and comes out the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import mlflow
import numpy as np
import pytest
import timm
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file

import pipeline
from pipeline.errors import UserError
from pipeline.registry.packages.encoder import PackagedEncoder
from pipeline.registry.packages.parity import ParityError, expected_of
from pipeline.registry.tracking import TrackedRun
from pipeline.registry.tracking_server import tracking_uri
from pipeline.registry.versions.register import RegisteredEncoder, register_encoder
from pipeline.registry.versions.resolve import encoder_folder, fetch
from tests.registry.packages import CONFIG, make_package, new_run, register

pytestmark = pytest.mark.fast

TAGS = {"objective": "simclr"}
FILES = ["README.md", "SHA256SUMS", "config.json", "encoder.safetensors"]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def uri(storage: Path) -> Iterator[str]:
    """The store; what registering changes in MLflow's globals is undone after the module."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield f"sqlite:///{storage}/mlflow.db"
    mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(autouse=True)
def _mlflow_is_there(uri: str) -> None:
    mlflow.set_tracking_uri(uri)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package"), seed=0)


@pytest.fixture(scope="module")
def registered(package: Path, uri: str) -> tuple[RegisteredEncoder, TrackedRun]:
    run = new_run(uri, "first")
    return register(package, name="enc", run=run, tags=TAGS), run


def test_a_run_registers_one_version_with_tags_and_alias(
    registered: tuple[RegisteredEncoder, TrackedRun], package: Path, uri: str
) -> None:
    first, run = registered
    assert first.model_dump() == {"name": "enc", "version": 1, "uri": "models:/enc/1"}
    assert register(package, name="enc", run=run, tags=TAGS) == first
    client = MlflowClient(tracking_uri=uri)
    (version,) = client.search_model_versions("name = 'enc'")
    assert version.run_id == run.run_id
    assert version.tags.items() > TAGS.items()
    assert float(version.tags["parity"]) < 1e-4
    assert client.get_model_version_by_alias("enc", "candidate").version == version.version


def test_other_weights_or_another_run_make_the_next_version_and_take_the_alias(
    uri: str, tmp_path: Path
) -> None:
    one, other = new_run(uri, "one"), new_run(uri, "other")
    for version, (seed, run) in enumerate([(1, one), (2, one), (2, other)], start=1):
        folder = make_package(tmp_path / str(version), seed)
        tags = {"seed": str(seed)}
        assert register(folder, name="next", run=run, tags=tags).version == version
        loaded = {
            name: pipeline.load_encoder(f"models:/next{name}", tracking_uri=uri).state_dict()
            for name in ("/1", f"/{version}", "@candidate")
        }
        weight = "backbone.conv1.0.weight"
        assert torch.equal(loaded["@candidate"][weight], loaded[f"/{version}"][weight])
        assert torch.equal(loaded["@candidate"][weight], loaded["/1"][weight]) == (version == 1)


def test_mlflow_alone_computes_the_features_that_we_and_timm_compute(
    registered: tuple[RegisteredEncoder, TrackedRun], package: Path
) -> None:
    served = mlflow.pyfunc.load_model("models:/enc@candidate").predict(IMAGES)
    assert (served.shape, served.dtype) == ((5, 32), np.float32)

    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous()
    plain = timm.create_model(CONFIG.architecture, **CONFIG.model_args).eval()
    plain.load_state_dict(load_file(package / "encoder.safetensors"))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
    with torch.no_grad():
        ours = PackagedEncoder.load(package)(pixels)
        timms = plain((pixels.float() / 255 - mean) / std)
    assert torch.equal(ours, timms)
    np.testing.assert_allclose(served, ours.numpy(), rtol=1e-4, atol=1e-5)


def test_an_encoder_loads_by_alias_version_and_folder(
    registered: tuple[RegisteredEncoder, TrackedRun],
    package: Path,
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = load_file(package / "encoder.safetensors")
    for name in ("models:/enc@candidate", "models:/enc/1", str(package)):
        encoder = pipeline.load_encoder(name, tracking_uri=uri)
        assert not encoder.training
        found = encoder.backbone.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert pipeline.load_encoder("models:/enc/1").config == CONFIG


def test_the_store_that_is_named_is_asked_wherever_mlflow_points(
    registered: tuple[RegisteredEncoder, TrackedRun], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    encoder = pipeline.load_encoder("models:/enc@candidate", tracking_uri=uri)
    assert encoder.config == CONFIG


def test_registering_does_not_move_the_runs_that_follow(
    registered: tuple[RegisteredEncoder, TrackedRun],
    package: Path,
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    register(package, name="mover", run=new_run(uri, "mover"), tags={})
    assert tracking_uri(None, "elsewhere") == f"sqlite:///{Path.cwd()}/elsewhere/mlflow.db"


def test_a_fetched_folder_lives_as_long_as_it_is_used(
    registered: tuple[RegisteredEncoder, TrackedRun], package: Path, uri: str
) -> None:
    with encoder_folder("models:/enc/1", tracking_uri=uri) as folder:
        assert sorted(path.name for path in folder.iterdir()) == FILES
        for name in FILES:
            assert (folder / name).read_bytes() == (package / name).read_bytes()
    assert not folder.exists()
    with encoder_folder(str(package)) as folder:
        assert folder == package
    assert package.exists()


@pytest.mark.parametrize("source", ["models:/enc@candidate", "package"])
def test_fetching_copies_every_file(
    registered: tuple[RegisteredEncoder, TrackedRun],
    package: Path,
    uri: str,
    tmp_path: Path,
    source: str,
) -> None:
    (tmp_path / "empty").mkdir()
    for destination in (tmp_path / "new" / "folder", tmp_path / "empty"):
        name = str(package) if source == "package" else source
        written = fetch(name, destination, tracking_uri=uri).files
        assert written == [destination / file for file in FILES]
        assert all(path.read_bytes() == (package / path.name).read_bytes() for path in written)
    with pytest.raises(UserError, match="already holds something"):
        fetch(name, destination, tracking_uri=uri)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_a_fetch_that_fails_midway_leaves_nothing(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("shutil.copyfile", full_disk)
    with pytest.raises(OSError, match="no space"):
        fetch(str(package), tmp_path / "out", tracking_uri=None)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_without_a_card_can_be_fetched(package: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for name in FILES[2:]:
        (tmp_path / "bare" / name).write_bytes((package / name).read_bytes())
    fetch(str(tmp_path / "bare"), tmp_path / "copy", tracking_uri=None)


def test_an_encoder_can_be_fetched_into_the_empty_folder_that_one_is_in(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetch(str(package), Path(), tracking_uri=None)


@pytest.mark.parametrize(
    "name", ["models:/unknown@candidate", "models:/enc@unknown", "models:/enc/99", "models:/"]
)
def test_what_is_not_registered_is_the_users_mistake(
    registered: tuple[RegisteredEncoder, TrackedRun], uri: str, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError) as error:
        pipeline.load_encoder(name, tracking_uri=uri)
    assert [problem.where for problem in error.value.problems] == [name]
    with pytest.raises(UserError):
        fetch(name, tmp_path / "out", tracking_uri=uri)
    assert list(tmp_path.iterdir()) == []


def test_a_store_or_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/none.db"
    with pytest.raises(UserError, match=f"no MLflow store at {store}"):
        pipeline.load_encoder("models:/enc@candidate", tracking_uri=store)
    with pytest.raises(UserError, match=r"holds no encoder: encoder.safetensors, config.json"):
        pipeline.load_encoder(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_stored_encoder_that_is_not_the_trained_one_makes_no_version(
    package: Path, uri: str, tmp_path: Path
) -> None:
    trained = PackagedEncoder.load(make_package(tmp_path / "other", seed=3)).backbone
    parity = expected_of(trained, CONFIG)
    run = new_run(uri, "other")
    with pytest.raises(ParityError, match="the package gives other features than the trained"):
        register_encoder(package, name="unequal", run=run, tags={}, parity=parity)
    not_finite = parity._replace(features=np.full_like(parity.features, np.nan))
    with pytest.raises(ParityError, match="differ by nan of the largest"):
        register_encoder(package, name="unequal", run=run, tags={}, parity=not_finite)
    with pytest.raises(MlflowException, match="not found"):
        MlflowClient(tracking_uri=uri).get_registered_model("unequal")


@pytest.mark.parametrize("name", ["encoder.safetensors", "config.json"])
def test_a_damaged_file_is_named(package: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(package, folder)
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name}: is damaged: SHA256SUMS has another sha256"):
        pipeline.load_encoder(folder)


def test_a_registered_encoder_that_was_damaged_on_its_way_is_not_given(
    package: Path, uri: str, tmp_path: Path
) -> None:
    register(package, name="damaged", run=new_run(uri, "damaged"), tags={})
    client = MlflowClient(tracking_uri=uri)
    stored = client.get_model_version_download_uri("damaged", "1").removeprefix("file://")
    weights = next(Path(unquote(stored)).rglob("encoder.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"encoder.safetensors: is damaged"):
        fetch("models:/damaged/1", tmp_path / "out", tracking_uri=uri)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_than_those_that_were_registered_are_refused(package: Path, uri: str) -> None:
    tags = {"encoder_sha256": "0" * 64}
    register(package, name="swapped", run=new_run(uri, "swapped"), tags=tags)
    with pytest.raises(UserError, match=r"encoder.safetensors is not the one that was registered"):
        pipeline.load_encoder("models:/swapped/1", tracking_uri=uri)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("models:/enc@champion", r"enc has no alias champion; there are: candidate \(version 1\)"),
        ("models:/enc/99", "enc has no version 99; the newest: 1"),
        ("models:/encc@candidate", "no model encc is registered; there are: enc"),
        ("models:/enc", "is neither models:/NAME@ALIAS nor models:/NAME/VERSION"),
    ],
)
def test_a_version_that_is_not_there_is_told_with_those_that_are(
    registered: tuple[RegisteredEncoder, TrackedRun], uri: str, name: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        pipeline.load_encoder(name, tracking_uri=uri)
