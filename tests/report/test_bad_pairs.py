"""The list of bad pairs of real small runs: its rows, its pictures, and runs that have none."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import Tensor

from pipeline.data import storage
from pipeline.data.decode import decode_image
from pipeline.data.order.corpus import SOURCE_STRIDE, load_corpus
from pipeline.data.order.exclusion import load_exclusion
from pipeline.data.reading.shard_reader import ShardReader
from pipeline.data.sources.convert import shard
from pipeline.pairs.history import SampleHistory
from pipeline.pairs.worst import OUTLYING
from pipeline.recipe import Recipe
from pipeline.report.facts import BadPairs, RunFacts
from pipeline.report.gathering import bad_pairs
from pipeline.report.writing import report_of_folder, write_report
from pipeline.runs.folder import RunFolder
from pipeline.views.opencv import render_probe_view
from tests.report.autoencoder_runs import recipe_for, trained

pytestmark = pytest.mark.fast

MIM = {
    "kind": "mim",
    "width": 5,
    "decoder": {"kind": "conv", "channels": [8, 8]},
    "likelihood": {"kind": "gaussian", "scale": 0.2},
}
SIMCLR = {"kind": "simclr", "projector": [16, 4]}
DBPM = {"kind": "dbpm", "warm_up": 1}
TRAIN = {"steps": 30, "global_batch": 24, "log_every": 10}  # three epochs of 240 samples
PLANTED = 3


@pytest.fixture(scope="module")
def shards(clipart: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The pictures as tar shards, and as Parquet shards of which three pictures are black."""
    folder = tmp_path_factory.mktemp("shards")
    pixels = np.load(clipart)["x"][:240].copy()
    pixels[170 : 170 + PLANTED] = 0
    for name, part in (("tar", pixels[:120]), ("parquet", pixels[120:])):
        np.savez(folder / f"{name}.npz", x=part)
        shard(
            folder / f"{name}.npz",
            folder / name,
            kind=name,  # type: ignore[arg-type]
            samples_per_shard=50,
            test_fraction=0.0,
            seed=0,
        )
    return str(folder / "tar"), str(folder / "parquet")


def recipe_of(shards: tuple[str, str], objective: dict[str, Any], **settings: Any) -> Recipe:
    resolved = recipe_for("unused", objective, train=TRAIN, **settings).resolved()
    resolved["data"]["shards"] = [{"path": path} for path in shards]
    if objective["kind"] == "simclr":
        resolved["views"] |= {"count": 2, "crop_scale": [0.3, 1]}
    return Recipe.model_validate(resolved)


def listed(folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """The rows of a run's list by their sort, in the order of the file."""
    rows = pq.read_table(io.BytesIO(storage.read_file(folder.bad_pairs))).to_pylist()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["sort"], []).append(row)
    return found


def stored(shards: tuple[str, str], sample_id: int, row: dict[str, Any]) -> bytes:
    """A sample's bytes by what a row says of where it is."""
    path = Path(shards[sample_id // SOURCE_STRIDE], row["shard"])
    if path.suffix == ".tar":
        with tarfile.open(path) as file:
            extracted = file.extractfile(f"{sample_id:012d}.png")
            assert extracted is not None
            return extracted.read()
    (found,) = (r for r in pq.read_table(path).to_pylist() if r.get("key") == row["key"])
    (data,) = (v for v in found.values() if isinstance(v, bytes | dict))
    return data["bytes"] if isinstance(data, dict) else data


def test_planted_samples_are_at_the_head_of_the_list(
    shards: tuple[str, str], tmp_path: Path, drawn: list[RunFacts]
) -> None:
    """Black pictures, of a lens with its cap on: an autoencoder has no trouble with them."""
    recipe, folder = trained(recipe_of(shards, MIM, pairs={"miner": DBPM}), tmp_path / "run")
    report = write_report(recipe, folder)
    noisy = listed(folder)["noisy"]
    assert [row["rank"] for row in noisy] == list(range(len(noisy)))
    worst = noisy[:PLANTED]
    assert all(row["sample_id"] >= SOURCE_STRIDE for row in worst)
    assert all(row["arbiter_weight"] is None and row["seen"] == 3 for row in noisy)
    for row in worst:
        assert not decode_image(stored(shards, row["sample_id"], row)).any()
    facts = drawn[0].bad_pairs
    assert isinstance(facts, BadPairs)
    assert isinstance(facts.images, dict)
    for row in worst:
        assert not facts.images[row["sample_id"]].any()
    counts = {sort.name: sort.total for sort in facts.sorts}
    assert report.bad_pairs is not None
    assert report.bad_pairs.as_json() == {
        "list": f"{folder.location}/bad_pairs.parquet",
        "sheet": f"{folder.location}/bad_pairs.png",
        "counts": counts,
    }
    assert counts == {"noisy": len(noisy), "faulty": 0}
    sheet = Image.open(folder.contact_sheet)
    assert sheet.format == "PNG"
    page = Path(report.page).read_text()
    assert '<section id="bad-pairs">' in page
    assert f"data.exclude={folder.bad_pairs}" in page


def test_what_a_run_left_out_is_listed_again(shards: tuple[str, str], tmp_path: Path) -> None:
    """So that the next run leaves out what this one found, and what the one before it found."""
    before = [2, SOURCE_STRIDE + 3, SOURCE_STRIDE + 17]
    (tmp_path / "bad.txt").write_text("\n".join(map(str, before)))
    resolved = recipe_of(shards, MIM, pairs={"miner": DBPM}).resolved()
    resolved["data"]["exclude"] = str(tmp_path / "bad.txt")
    recipe, folder = trained(Recipe.model_validate(resolved), tmp_path / "run")
    report = write_report(recipe, folder)
    found = listed(folder)
    assert [row["sample_id"] for row in found["excluded"]] == before
    assert found["noisy"]
    assert not {row["sample_id"] for row in found["noisy"]} & set(before)
    every_id = {row["sample_id"] for rows in found.values() for row in rows}
    assert load_exclusion(folder.bad_pairs).ids.tolist() == sorted(every_id)
    assert "and the 3 that this one left out" in Path(report.page).read_text()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Ids, losses and weights of every step, as they are remembered."""
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    add = SampleHistory.add

    def noting(
        self: SampleHistory, places: Tensor, *, losses: Tensor, weights: Tensor | None
    ) -> None:
        assert weights is not None
        weights = weights - 0.9 * (self.sample_ids(places) % 97 == 5)  # plants outliers
        steps.append((self.sample_ids(places), losses.clone(), 1 + weights))
        add(self, places, losses=losses, weights=weights)

    monkeypatch.setattr(SampleHistory, "add", noting)
    return steps


def test_rows_are_those_of_a_table_of_all_losses(
    shards: tuple[str, str], tmp_path: Path, noted: list[tuple[Tensor, Tensor, Tensor]]
) -> None:
    pairs = {
        "miner": {**DBPM, "noisy": 1.0, "faulty": 1.0},
        "arbiter": {"kind": "uota", "start_epoch": 1},
    }
    recipe, folder = trained(recipe_of(shards, SIMCLR, pairs=pairs), tmp_path / "run")
    write_report(recipe, folder)
    of_sample: dict[int, list[tuple[float, float]]] = {}
    for ids, losses, weights in noted:
        for row in zip(ids.tolist(), losses.tolist(), weights.tolist(), strict=True):
            of_sample.setdefault(row[0], []).append(row[1:])
    loss, weight = (
        {i: float(np.mean([row[part] for row in rows])) for i, rows in of_sample.items()}
        for part in (0, 1)
    )
    mean, spread = np.mean([*loss.values()]), np.std([*loss.values()])
    deviations = {i: (value - mean) / spread for i, value in loss.items()}
    least = np.mean([*weight.values()]) - OUTLYING * np.std([*weight.values()])
    expected = {
        "noisy": sorted((i for i, d in deviations.items() if d <= -1), key=lambda i: deviations[i]),
        "faulty": sorted(
            (i for i, d in deviations.items() if d >= 1), key=lambda i: -deviations[i]
        ),
        "outlier": sorted((i for i, w in weight.items() if w <= least), key=lambda i: weight[i]),
    }
    found = listed(folder)
    assert len(of_sample) == 240
    assert [len(rows) > 2 for rows in expected.values()] == [True] * 3
    assert {sort: [row["sample_id"] for row in rows] for sort, rows in found.items()} == expected
    corpus = load_corpus(recipe.data.manifests)
    for rows in found.values():
        for row in rows:
            sample_id = row["sample_id"]
            assert row["mean_loss"] == pytest.approx(loss[sample_id], rel=1e-5)
            assert row["deviations"] == pytest.approx(deviations[sample_id], rel=1e-4)
            d = deviations[sample_id]
            mined = math.exp(-(d**2) / 2) if abs(d) >= 1 else 1.0
            assert row["miner_weight"] == pytest.approx(mined, rel=1e-3)
            assert row["arbiter_weight"] == pytest.approx(weight[sample_id], rel=1e-5)
            assert row["seen"] == len(of_sample[sample_id])
            with ShardReader(corpus) as reader:
                shard, key, _ = reader.describe(sample_id)
            assert (row["shard"], row["key"]) == (shard.path, key)


def facts_of(recipe: Recipe, folder: RunFolder, drawn: list[RunFacts]) -> BadPairs:
    write_report(recipe, folder)
    facts = drawn[-1].bad_pairs
    assert isinstance(facts, BadPairs), facts
    return facts


def test_the_list_is_cut_and_tells_how_many_there_are(
    shards: tuple[str, str],
    tmp_path: Path,
    drawn: list[RunFacts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    miner = {**DBPM, "noisy": 0.5, "faulty": 0.5, "warm_up": 3}
    recipe, folder = trained(recipe_of(shards, SIMCLR, pairs={"miner": miner}), tmp_path / "run")
    whole = facts_of(recipe, folder, drawn)
    before = listed(folder)
    monkeypatch.setattr(bad_pairs, "MOST_ROWS", 4)
    cut = facts_of(recipe, folder, drawn)
    assert [s.total for s in cut.sorts] == [s.total for s in whole.sorts]
    assert listed(folder) == {sort: rows[:4] for sort, rows in before.items()}
    # The run has ended within its warm-up.
    (note,) = cut.notes
    assert "The miner has turned nothing down" in note
    assert "The list has the worst 4." in Path(folder.report).read_text()


def test_pictures_are_of_the_worst_as_probes_see_them(
    shards: tuple[str, str], tmp_path: Path, drawn: list[RunFacts]
) -> None:
    pairs = {"arbiter": {"kind": "uota", "start_epoch": 1}, "miner": DBPM | {"noisy": 1.0}}
    recipe, folder = trained(recipe_of(shards, SIMCLR, pairs=pairs), tmp_path / "run")
    facts = facts_of(recipe, folder, drawn)
    assert isinstance(facts.images, dict)
    shown = {sample.sample_id for sort in facts.sorts for sample in sort.listed[:12]}
    assert facts.images.keys() == shown
    rows = listed(folder)["noisy"][:12]
    assert {row["shard"].partition(".")[2] for row in rows} == {"tar", "parquet"}
    for row in rows:
        image = decode_image(stored(shards, row["sample_id"], row))
        # Keys are the numbers of pictures in the array that the shards were made of.
        number = int(row["key"].removesuffix(".png"))
        part = np.load(f"{shards[row['sample_id'] // SOURCE_STRIDE]}.npz")["x"]
        assert np.array_equal(image, part[number])
        expected = render_probe_view(image, recipe.views.size)
        assert np.array_equal(facts.images[row["sample_id"]], expected)


def no_list(recipe: Recipe, folder: RunFolder, drawn: list[RunFacts]) -> str | None:
    report = write_report(recipe, folder)
    assert report.bad_pairs is None
    assert not storage.exists(folder.bad_pairs)
    assert not storage.exists(folder.contact_sheet)
    told = drawn[-1].bad_pairs
    assert not isinstance(told, BadPairs)
    return told


def test_a_run_without_miner_and_arbiter_has_no_list_and_no_section(
    shards: tuple[str, str], tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe, folder = trained(recipe_of(shards, MIM), tmp_path / "run")
    assert no_list(recipe, folder, drawn) is None
    assert "bad-pairs" not in Path(folder.report).read_text()


def test_a_run_without_a_whole_epoch_says_why_it_has_no_list(
    shards: tuple[str, str], tmp_path: Path, drawn: list[RunFacts]
) -> None:
    recipe = recipe_of(shards, MIM, pairs={"miner": DBPM})
    short = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": 9})})
    told = no_list(*trained(short, tmp_path / "run"), drawn)
    assert told is not None
    assert "no epoch is over by the newest checkpoint, of step 9" in told
    assert "an epoch has 10 steps" in told
    page = Path(tmp_path / "run" / "report.html").read_text()
    assert "Bad pairs cannot be listed: no epoch is over" in page


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: [f.unlink() for f in Path(folder.checkpoints).rglob("*.json")], "no check"),
        (
            lambda folder: [f.unlink() for f in Path(folder.checkpoints, "streams").iterdir()],
            "the memory of samples cannot be read. CheckpointError",
        ),
    ],
)
def test_a_memory_that_cannot_be_read_costs_only_the_list(
    shards: tuple[str, str],
    tmp_path: Path,
    drawn: list[RunFacts],
    damage: Callable[[RunFolder], object],
    reason: str,
) -> None:
    recipe, folder = trained(recipe_of(shards, MIM, pairs={"miner": DBPM}), tmp_path / "run")
    damage(folder)
    told = no_list(recipe, folder, drawn)
    assert told is not None
    assert reason in told


def test_a_run_in_a_store_has_its_list_there(
    object_store: str, shards: tuple[str, str], tmp_path: Path
) -> None:
    recipe, local = trained(recipe_of(shards, MIM, pairs={"miner": DBPM}), tmp_path / "run")
    there = RunFolder(f"s3://runs/bad-pairs/run?{object_store}")
    for file in storage.list_files(local.location):
        name = file.removeprefix(f"{local.location}/")
        storage.write_file(storage.join(there.location, name), storage.read_file(file))
    report = report_of_folder(there.location)
    write_report(recipe, local)
    assert report.bad_pairs is not None
    assert report.bad_pairs.list == there.bad_pairs
    assert listed(there) == listed(local)
    sheets = [storage.read_file(folder.contact_sheet) for folder in (there, local)]
    assert sheets[0] == sheets[1]
