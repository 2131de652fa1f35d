"""What `verify` says of runs of all sorts; they train in this process, without Ray."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import pipeline
from pipeline.data.reading.ingest import inline
from pipeline.data.storage import list_files
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.runs.folder import RunFolder, with_own_exclusion
from pipeline.runs.start import Start
from pipeline.training import driver, replay, replay_plan
from pipeline.training.loop import TrainingLoop

CMIM = {"kind": "cmim", "width": 5, "decoder": {"kind": "conv", "channels": [8, 8]}}
Verb = Callable[..., CompletedProcess[str]]
MINED = {"miner": {"kind": "dbpm", "warm_up": 1, "noisy": 0.3, "faulty": 0.3}}


def leave_out_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def train_here(
        recipe: Recipe,
        folder: RunFolder,
        *,
        gpu: bool,
        verbose: bool,
        start: Start | None = None,
    ) -> dict[str, Any]:
        loop = TrainingLoop(
            recipe=with_own_exclusion(recipe, folder),
            folder=folder,
            device=torch.device("cpu"),
            ingest=inline,
            start=start,
        )
        return {"samples": loop.run(), "probes": {}, "intervals": {}}

    @contextmanager
    def connected(recipe: Recipe, *, verbose: bool) -> Iterator[bool]:
        yield False

    for module in (driver, replay):
        monkeypatch.setattr(module, "train_on_ray", train_here)
        monkeypatch.setattr(module, "connected", connected)
    monkeypatch.setattr(replay, "is_one_machine", lambda: True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module", autouse=True)
def _without_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        leave_out_ray(patched)
        yield


@pytest.fixture(scope="module")
def storage(clipart_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards of its own, for runs and MLflow."""
    folder = tmp_path_factory.mktemp("replays")
    shutil.copytree(clipart_shards / "train", folder / "shards")
    return folder


def recipe_for(folder: Path, name: str, **settings: Any) -> dict[str, Any]:
    train = settings.pop("train", {})
    return {
        "name": name,
        "data": {
            "shards": str(folder / "shards"),
            "streams": 4,
            "shuffle_window": 64,
            **settings.pop("data", {}),
        },
        "views": {"size": 16},
        "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
        "objective": {"kind": "simclr", "projector": [16]},
        "train": {
            "steps": 14,  # of ten an epoch
            "global_batch": 24,
            "log_every": 1,
            "checkpoint": {"every_steps": 4, "keep": 3},
            **train,
        },
        "tracking": {
            "experiment": "replays",
            "storage": str(folder / "runs"),
            "uri": f"sqlite:///{folder}/mlflow.db",
            "register": name,
        },
        **settings,
    }


def verify(folder: Path, uri: str, **options: Any) -> replay.Verification:
    return pipeline.verify(uri, tracking_uri=f"sqlite:///{folder}/mlflow.db", **options)


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Of every file in a folder, its contents and when it was last written."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(folder: Path, uri: str, **options: Any) -> str:
    with pytest.raises(UserError) as told:
        verify(folder, uri, **options)
    return str(told.value)


@pytest.fixture(scope="module")
def plain(storage: Path) -> str:
    """The folder of a finished run, registered as `plain`."""
    return pipeline.pretrain(recipe_for(storage, "plain")).folder


KINDS: dict[str, dict[str, Any]] = {
    "cmim": {"objective": CMIM, "views": {"size": 16, "count": 1}},
    "mined": {"pairs": MINED},
    "moco": {"objective": {"kind": "moco", "projector": [16], "queue": 48}},
    "of_an_epoch": {"train": {"steps": 10, "checkpoint": {}}},
}


@pytest.mark.parametrize("name", KINDS)
def test_runs_are_proved_from_a_checkpoint_and_from_the_start(name: str, storage: Path) -> None:
    done = pipeline.pretrain(recipe_for(storage, name, **KINDS[name]))
    before = digests(storage)
    last = done.figures["steps"]
    newest = {"of_an_epoch": 9}.get(name, 12)
    for steps, first in ((None, newest), (last, 0)):
        found = verify(storage, f"models:/{name}@candidate", steps=steps)
        assert (found.from_step, found.to_step) == (first, last)
        assert (found.verdict, found.difference.differing) == ("proved", [])
        assert (found.file_unchanged, found.changes, found.holds) == (True, [], True)
        assert found.run == done.folder
        packaged = pipeline.load_encoder(done.encoder).state_dict()
        assert found.difference.tensors == len(packaged) + 2  # mean and deviation of its input
    assert digests(storage) == before


def test_excluded_samples_and_first_weights_are_the_runs_own(storage: Path, plain: str) -> None:
    """The files that the recipe names may go."""
    shutil.copytree(f"{plain}/encoder", storage / "first")
    (storage / "bad.txt").write_text("1\n2\n3")
    recipe = recipe_for(storage, "inputs", data={"exclude": str(storage / "bad.txt")})
    recipe["encoder"]["init"] = str(storage / "first")
    done = pipeline.pretrain(recipe)
    shutil.rmtree(storage / "first")
    (storage / "bad.txt").unlink()
    assert verify(storage, done.folder, steps=14).verdict == "proved"


def test_a_run_in_a_store_is_replayed_from_there(storage: Path, object_store: str) -> None:
    recipe = recipe_for(storage, "stored")
    recipe["tracking"]["storage"] = f"s3://runs/replayed?{object_store}"
    done = pipeline.pretrain(recipe)
    names = list_files(done.folder)
    for uri, steps, first in (("models:/stored/1", None, 12), (done.folder, 14, 0)):
        found = verify(storage, uri, steps=steps)
        assert (found.verdict, found.from_step, found.run) == ("proved", first, done.folder)
    assert list_files(done.folder) == names


def test_a_flipped_bit_is_found_and_told(
    storage: Path, plain: str, tmp_path: Path, jobs_here: Verb
) -> None:
    shutil.copytree(f"{plain}/encoder", tmp_path / "encoder")
    path, name = tmp_path / "encoder" / "encoder.safetensors", "conv1.0.weight"
    weights = load_file(path)
    weights[name].view(-1).view(torch.int32)[0] ^= 1
    save_file(weights, path)
    found = verify(storage, str(tmp_path / "encoder"), run=plain)
    assert found.verdict == "differs"
    assert not found.holds
    assert not found.file_unchanged
    assert found.difference.differing == [f"backbone.{name}"]
    assert 0 < found.difference.max_absolute < 1e-6
    done = jobs_here("verify", tmp_path / "encoder", "--run", plain)
    assert done.returncode == 1, done.stderr
    told = " ".join(done.stdout.split())
    assert f"differs: {tmp_path}/encoder" in told
    assert f"differing backbone.{name} " in told
    assert f"{found.difference.tensors - 1} of {found.difference.tensors} bitwise the same" in told
    assert "its sha256 is not the one that it was made with" in told


def test_so_is_another_normalisation(storage: Path, plain: str, tmp_path: Path) -> None:
    shutil.copytree(f"{plain}/encoder", tmp_path / "encoder")
    path = tmp_path / "encoder" / "config.json"
    config = json.loads(path.read_text())
    config["preprocessing"]["std"][0] *= 2
    path.write_text(json.dumps(config))
    found = verify(storage, str(tmp_path / "encoder"), run=plain)
    assert found.difference.differing == ["input.std"]
    assert found.file_unchanged


def test_a_run_that_has_moved_is_found_where_one_says(
    storage: Path, plain: str, tmp_path: Path
) -> None:
    shutil.move(plain, tmp_path / "moved")
    try:
        told = refused(storage, "models:/plain/1")
        assert plain in told
        assert "--run" in told
        found = verify(storage, "models:/plain/1", run=str(tmp_path / "moved"))
    finally:
        shutil.move(tmp_path / "moved", plain)
    assert (found.verdict, found.from_step) == ("proved", 12)


@pytest.mark.parametrize("steps", [7, 13, 15])
def test_more_steps_than_checkpoints_allow_are_refused(
    storage: Path, plain: str, steps: int
) -> None:
    assert refused(storage, plain, steps=steps) == (
        "--steps: checkpoints before the last are kept of step 8 and 12 (of 14); allowed: at most "
        "6, or 14, which replays the run from its start"
    )


def test_one_checkpoint_is_too_few_unless_all_steps_are_asked_for_or_few(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = pipeline.pretrain(recipe_for(storage, "one", train={"checkpoint": {"keep": 1}}))
    assert verify(storage, done.folder).from_step == 0
    monkeypatch.setattr(replay_plan, "_FEW_STEPS", 13)
    assert refused(storage, done.folder) == (
        "--steps: no checkpoint before the last is kept (of 14); allowed: 14, which replays the "
        "run from its start"
    )
    assert verify(storage, done.folder, steps=14).verdict == "proved"


def test_a_damaged_checkpoint_is_named(storage: Path, plain: str, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "damaged")
    parts = tmp_path / "damaged" / "checkpoints" / "step-0000000012"
    (parts / "optimization.safetensors").write_bytes(b"damaged")
    assert "that of step 12 is damaged: optimization.safetensors has 7 bytes" in refused(
        storage, str(tmp_path / "damaged")
    )


def test_what_came_before_a_run_was_made_longer_cannot_be_replayed(storage: Path) -> None:
    """Its schedule was another one; and its encoder of then is no longer what it ends with."""
    recipe = recipe_for(storage, "longer", train={"steps": 6, "checkpoint": {"keep": 9}})
    pipeline.pretrain(recipe)
    recipe["train"]["steps"] = 14
    done = pipeline.pretrain(recipe)
    assert "it has gone on since, or is another run" in refused(storage, "models:/longer/1")
    assert "before step 6 it had another length or number of workers" in refused(
        storage, "models:/longer/2", steps=14
    )
    found = verify(storage, "models:/longer/2", steps=8)
    assert (found.verdict, found.from_step, found.run) == ("proved", 6, done.folder)


def test_other_versions_are_told_and_change_no_verdict(
    storage: Path, plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(plain, tmp_path / "older")
    journal = tmp_path / "older" / "journal.jsonl"
    journal.write_text(journal.read_text().replace(f'"torch": "{torch.__version__}', '"torch": "1'))
    found = verify(storage, str(tmp_path / "older"))
    (change,) = found.changes
    assert change == f"torch was 1 and is {torch.__version__}"
    assert f"{change}: bits may differ" in capsys.readouterr().err
    assert found.verdict == "proved"


@pytest.mark.parametrize(
    ("uri", "told"),
    [("{plain}/encoder", "has no run.json"), ("models:/none/1", "models:/none/1")],
)
def test_what_is_no_run_and_no_encoder_is_refused(
    storage: Path, plain: str, uri: str, told: str
) -> None:
    assert told in refused(storage, uri.format(plain=plain))


def test_a_recipe_that_was_made_longer_is_refused(
    storage: Path, plain: str, tmp_path: Path
) -> None:
    shutil.copytree(plain, tmp_path / "run")
    path = tmp_path / "run" / "recipe.yaml"
    path.write_text(path.read_text().replace("steps: 14", "steps: 15"))
    assert refused(storage, str(tmp_path / "run")) == (
        f"{path}: makes 15 steps, but the run has 14"
    )


def test_a_run_that_has_not_finished_is_refused(storage: Path, plain: str, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    assert "has not finished" in refused(storage, str(tmp_path / "run"))


def test_everything_that_is_wrong_is_told_at_once(storage: Path, plain: str) -> None:
    shard = next((storage / "shards").glob("*000001.tar"))
    shard.rename(storage / "away")
    try:
        told = refused(storage, plain, steps=9)
    finally:
        (storage / "away").rename(shard)
    assert "the manifest lists this shard, but it is missing" in told
    assert "--steps: checkpoints" in told


def test_other_data_is_refused(storage: Path, plain: str, clipart: Path) -> None:
    kept = storage / "kept"
    shutil.copytree(storage / "shards", kept)
    try:
        pipeline.shard(clipart, storage / "shards", append=True)
        told = refused(storage, plain)
    finally:
        shutil.rmtree(storage / "shards")
        kept.rename(storage / "shards")
    assert told.startswith("data.shards: the data has grown or changed: its fingerprint was")
