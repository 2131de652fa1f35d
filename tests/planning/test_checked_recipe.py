"""A recipe checked against what it names: every mistake is told at once."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from pipeline.data.sources.convert import shard
from pipeline.planning.check import checked_recipe
from pipeline.planning.plan import plan_recipe
from tests.conftest import Checker

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def unlabelled(clipart: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled") / "shards"
    shard(
        clipart,
        folder,
        labels="none",
        images="x",
        kind="tar",
        samples_per_shard=300,
        test_fraction=0,
        seed=0,
    )
    return folder


@pytest.fixture
def silent_server() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_recipe_without_mistakes_is_handed_over_with_absolute_paths(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, clipart_shards: Path
) -> None:
    monkeypatch.chdir(clipart_shards)
    changes = ["data.shards=train", "train.workers=4", "train.trace=trace.parquet"]
    checked = checked_recipe(recipe, changes)
    assert checked.train.trace == str(clipart_shards / "trace.parquet")
    assert checked.data.manifests == (str(clipart_shards / "train"),)
    assert checked.train.workers == (4, 4)


def test_missing_shards_are_told_with_the_mistakes_in_every_other_section(
    problems: Checker, tmp_path: Path, unlabelled: Path, silent_server: str
) -> None:
    found = problems(
        "seed=-1",
        "objective.tempreture=1",
        f"data.shards={tmp_path}/absent",
        f"evaluate={{train: {unlabelled}, test: {tmp_path}/gone}}",
        "encoder.name=resnet10x",
        f"tracking.uri={silent_server}",
    )
    assert set(found) == {
        "seed",
        "objective.tempreture",
        f"{tmp_path}/absent/manifest.arrow",
        f"{tmp_path}/gone/manifest.arrow",
        "evaluate.train",
        "encoder.name",
        "tracking.uri",
    }
    assert "python -m jobs shard" in found[f"{tmp_path}/absent/manifest.arrow"]
    assert "has no labels" in found["evaluate.train"]
    assert "timm has no model 'resnet10x'" in found["encoder.name"]
    assert silent_server in found["tracking.uri"]


def test_runs_in_a_store_need_its_bucket_and_a_server_of_mlflow(
    problems: Checker, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = problems(f"tracking.storage=s3://absent/runs?{object_store}")
    assert set(found) == {"tracking.storage", "tracking.uri"}
    assert "no such bucket" in found["tracking.storage"]
    assert "set MLFLOW_TRACKING_URI" in found["tracking.uri"]
    found = problems("tracking.storage=nonsense://x/runs", "tracking.uri=sqlite:////tmp/mlflow.db")
    assert set(found) == {"tracking.storage"}


def test_a_range_of_workers_is_taken_with_readers_in_the_workers(
    problems: Checker, recipe: Path
) -> None:
    assert set(problems("train.workers=[1, 3]", "data.readers=anywhere")) == {"data.readers"}
    for wrong in ("[3, 1]", "[0, 2]", "0", "two", "[1, 2, 3]", "1.5", "null"):
        assert "or a range" in problems(f"train.workers={wrong}")["train.workers"], wrong
    checked = checked_recipe(recipe, ["train.workers=[1, 3]", "data.ingest=inline"])
    assert (checked.train.least_workers, checked.train.most_workers) == (1, 3)
    assert plan_recipe(checked).workers == 2  # of three that are started, one waits
    assert checked.resolved()["train"]["workers"] == [1, 3]


@pytest.mark.parametrize(
    ("workers", "allowed"),
    [("1", "1, 2, 4, 8, 16, 32"), ("4", "1, 2, 4, 8"), ("[1, 3]", "1, 2, 4, 8, 16")],
)
def test_a_micro_batch_divides_the_share_of_any_workers_that_may_train(
    problems: Checker, recipe: Path, workers: str, allowed: str
) -> None:
    settings = [f"train.workers={workers}", "data.ingest=inline"]
    for wrong in ("3", "64"):
        found = problems(*settings, f"train.micro_batch={wrong}")
        assert list(found) == ["train.micro_batch"]
        assert found["train.micro_batch"].startswith(f"{wrong} does not divide")
        assert found["train.micro_batch"].endswith(f"allowed: null, {allowed}")
    for right in ("null", *allowed.split(", ")):
        checked_recipe(recipe, [*settings, f"train.micro_batch={right}"])


@pytest.mark.parametrize(
    ("objective", "where", "part"),
    [
        ("{kind: moco, queue: 100}", "objective.queue", "100 is not a multiple of train.global"),
        ("{kind: amcl, base: moco, queue: 40}", "objective.queue", "the nearest is 32"),
        ("{kind: amcl, top_k: 63}", "objective.top_k", "63, but an anchor has 62 negatives"),
        (
            "{kind: composite, parts: [{objective: {kind: byol, ema: 0.9}}, "
            "{objective: {kind: moco, queue: 33, ema: 0.9}}]}",
            "objective.parts.1.objective.queue",
            "33 is not a multiple",
        ),
    ],
)
def test_what_does_not_go_with_the_global_batch_is_named(
    problems: Checker, objective: str, where: str, part: str
) -> None:
    found = problems(f"objective={objective}")
    assert list(found) == [where]
    assert part in found[where]


def test_a_micro_batch_is_not_blamed_for_a_wrong_cut(problems: Checker) -> None:
    assert list(problems("train.micro_batch=3", "train.global_batch=36")) == ["train.global_batch"]
    assert list(problems("train.micro_batch=3", "train.workers=two")) == ["train.workers"]
    assert list(problems("train.micro_batch=0")) == ["train.micro_batch"]


def test_a_cut_that_does_not_divide_is_told_with_the_mistakes_in_every_other_section(
    problems: Checker, unlabelled: Path, silent_server: str
) -> None:
    found = problems(
        "train.workers=5",
        "train.global_batch=36",
        "train.optimizer.warmup=1",
        "encoder.args.stem_widht=8",
        f"evaluate={{train: {unlabelled}, test: {unlabelled}}}",
        f"tracking.uri={silent_server}",
    )
    assert set(found) == {
        "train.workers",
        "train.global_batch",
        "train.optimizer.warmup",
        "encoder.args",
        "evaluate.train",
        "evaluate.test",
        "tracking.uri",
    }
    assert "allowed: 1, 2, 4, 8" in found["train.workers"]
    assert "nearest: 32 or 40" in found["train.global_batch"]
    assert "stem_widht" in found["encoder.args"]


def test_a_set_that_is_too_small_is_refused_with_the_largest_batch(problems: Checker) -> None:
    found = problems("train.global_batch=256")
    assert list(found) == ["train.global_batch"]
    assert "the largest batch that fits is 240" in found["train.global_batch"]


def test_probe_sets_of_other_classes_are_refused(
    problems: Checker, clipart_shards: Path, clipart: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shard(clipart, other, labels="path", images="x", kind="parquet", samples_per_shard=300)
    found = problems(f"evaluate={{train: {clipart_shards}/train, test: {tmp_path}/other}}")
    assert list(found) == ["evaluate"]


def test_damaged_shards_are_named_file_by_file(
    problems: Checker, clipart_shards: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "copy"
    shutil.copytree(clipart_shards / "train", shards)
    (shards / "shard-000000.tar").write_bytes(b"short")
    (shards / "shard-000001.tar.index.parquet").unlink()
    (shards / "shard-000002.tar").unlink()
    assert set(problems(f"data.shards={shards}")) == {
        f"{shards}/shard-000000.tar",
        f"{shards}/shard-000001.tar.index.parquet",
        f"{shards}/shard-000002.tar",
    }


@pytest.mark.parametrize("wrong", ["train={epochs: 3, steps: 3}", "seed=-1", "name=a b"])
def test_a_wrong_setting_silences_no_path_or_setting_that_contains_its_name(
    problems: Checker, tmp_path: Path, wrong: str
) -> None:
    shards = tmp_path / wrong.partition("=")[0]
    found = problems(wrong, f"data.shards={shards}", "encoder.name=resnet10x")
    assert {f"{shards}/manifest.arrow", "encoder.name"} <= set(found)


def test_a_wrong_setting_is_told_once_though_its_default_is_wrong_too(problems: Checker) -> None:
    assert "greater than or equal to 2" in problems("train.global_batch=1")["train.global_batch"]


def test_settings_beside_a_wrong_one_are_still_checked(problems: Checker) -> None:
    assert set(problems("seed=-1", "train.log_every=0", "train.workers=3")) == {
        "seed",
        "train.log_every",
        "train.workers",
    }


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("train.epochs=0", "train.epochs"),
        ("train={epochs: 3, steps: 3, workers: 3, global_batch: 32}", "train"),
        ("views.crop_scale=[0.5]", "views.crop_scale"),
        ("evaluate={train: a}", "evaluate"),
    ],
)
def test_settings_beside_a_wrong_length_are_still_checked(
    problems: Checker, override: str, where: str
) -> None:
    found = problems(override, "encoder.args.stem_widht=8")
    assert "encoder.args" in found
    assert any(blamed.startswith(where) for blamed in found)


def test_a_wrong_setting_does_not_bring_its_default_into_the_message(problems: Checker) -> None:
    assert set(problems("data.streams=-4", "train.global_batch=36")) == {"data.streams"}


@pytest.mark.parametrize(
    "override",
    [
        "encoder.init=/nowhere/encoder",
        "tracking.register=team/encoder",
        "tracking.uri=ftp://nowhere/mlflow",
        "train.trace=/nowhere/trace.parquet",
        "train.trace=/",
    ],
)
def test_what_would_stop_the_run_later_is_refused_before_it(
    problems: Checker, override: str
) -> None:
    assert len(problems(override)) == 1


def test_one_mistake_in_the_encoder_is_not_blamed_on_the_views(problems: Checker) -> None:
    assert list(problems("encoder.args.in_chans=1")) == ["encoder.args.in_chans"]
