"""Snapshots of a training run, evaluated aside; without Ray."""

from __future__ import annotations

import json
import math
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.reading.ingest import inline
from pipeline.errors import UserError
from pipeline.evaluation.features import encode_images
from pipeline.evaluation.panel.measures import label_free_panel
from pipeline.evaluation.probe_set import load_panel_set, load_probe_set
from pipeline.evaluation.probes.scoring import probe_scores
from pipeline.evaluation.snapshot import Evaluation
from pipeline.learning.learner import LearnerBatch, StepResult
from pipeline.learning.optimization import Optimization
from pipeline.planning import evaluation_plan
from pipeline.recipe import Recipe
from pipeline.registry.journal import records
from pipeline.runs.folder import RunFolder
from pipeline.training.evaluator import Fit
from pipeline.training.loop import TrainingLoop

pytestmark = pytest.mark.fast

SIMCLR = {"kind": "simclr", "projector": [16]}


def recipe_for(shards: Path, *, objective: dict[str, Any] = SIMCLR, **evaluate: Any) -> Recipe:
    sets = {"train": f"{shards}/train", "test": f"{shards}/test", "probes": ["knn", "naive_bayes"]}
    return Recipe.model_validate(
        {
            "data": {"shards": f"{shards}/train", "streams": 4, "shuffle_window": 64},
            "views": {"size": 16},
            "encoder": {"name": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8}},
            "objective": objective,
            "train": {
                "steps": 25,
                "global_batch": 24,
                "log_every": 1,
                "checkpoint": {"every_steps": 4},
            },
            # Runs are short here, and 2 % of their samples next to nothing.
            "evaluate": {
                "snapshot_samples": 50,
                "snapshot_share": 1.0,
                "every": 0.8,
                **sets,
                **evaluate,
            },
        }
    )


def loop_for(recipe: Recipe, path: Path, fit: Fit | None = None) -> TrainingLoop:
    path.mkdir(exist_ok=True)
    folder = RunFolder(str(path))
    return TrainingLoop(
        recipe=recipe, folder=folder, device=torch.device("cpu"), ingest=inline, fit=fit
    )


def evaluations(path: Path) -> dict[int, dict[str, Any]]:
    """The journal's evaluations by step; each step must be there once."""
    found = [r for r in records(RunFolder(str(path)).journal) if r["kind"] == "evaluation"]
    assert len({record["step"] for record in found}) == len(found)
    return {record["step"]: record for record in found}


def test_figures_are_those_of_the_weights_at_the_step(clipart_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_for(clipart_shards)
    loop = loop_for(recipe, tmp_path)
    loop.run()
    found = evaluations(tmp_path)
    assert list(found) == [8, 16, 24, 25]
    views, encoder = recipe.views, loop.learner.encoder
    panel_set = load_panel_set(recipe.evaluate.test, views=views, seed=0, max_samples=50)
    shape = panel_set.views.shape

    def encode(images: Any) -> torch.Tensor:
        return encode_images(encoder, images, mean=views.mean, std=views.std)

    features = encode(panel_set.views.reshape(-1, *shape[2:])).view(*shape[:2], -1)
    panel = label_free_panel(features.numpy(), panel_set.labels, seed=0)
    scores = probe_scores(
        encode,
        *[load_probe_set(s, size=16, max_samples=50) for s in recipe.evaluate.sets or ()],
        probes=recipe.evaluate.probes,
        seed=0,
    )
    metrics = found[25]["metrics"]
    assert metrics == pytest.approx(
        {f"eval/{name}": value for name, value in panel.items() if math.isfinite(value)}
        | {f"eval/{name}": score.accuracy for name, score in scores.items()}
    )
    assert found[25]["intervals"]["eval/knn"] == list(scores["knn"][1:])
    assert found[8]["metrics"] != metrics
    assert not any((tmp_path / "snapshots").iterdir())


def test_training_does_not_notice(clipart_shards: Path, tmp_path: Path) -> None:
    with_them, without = (
        loop_for(recipe, tmp_path / name)
        for name, recipe in {
            "with": recipe_for(clipart_shards),
            "without": recipe_for(clipart_shards, snapshot_samples=0),
        }.items()
    )
    with_them.run()
    without.run()
    for one, other in zip(
        with_them.learner.state_dict().values(), without.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    assert evaluations(tmp_path / "without") == {}


def test_training_does_not_wait_for_a_slow_probe(clipart_shards: Path, tmp_path: Path) -> None:
    journal = RunFolder(str(tmp_path)).journal
    begun: list[int] = []

    def slow(location: str) -> Evaluation:
        begun.append(int(Path(location).stem))
        while not any(r.get("step") == 25 for r in records(journal)):
            assert not threading.Event().wait(0.01)
        return Evaluation({"eval/knn": 0.5}, {})

    loop_for(recipe_for(clipart_shards), tmp_path, slow).run()
    # The third would have been the third to wait; the last is never left out.
    assert begun == [8, 16, 25]
    assert list(evaluations(tmp_path)) == [8, 16, 25]
    order = [r["step"] for r in records(journal) if r["kind"] in ("metrics", "evaluation")]
    assert order.index(8) < order.index(24) < len(order) - order[::-1].index(8) - 1


def test_a_probe_that_fails_costs_its_figures_and_no_training(
    clipart_shards: Path, tmp_path: Path
) -> None:
    def failing(location: str) -> Evaluation:
        if Path(location).stem.endswith("16"):
            raise ValueError("features hold NaN")
        return Evaluation({"eval/knn": 0.5}, {})

    loop_for(recipe_for(clipart_shards), tmp_path, failing).run()
    found = evaluations(tmp_path)
    assert {step: record["metrics"] for step, record in found.items()} == {
        step: {} if step == 16 else {"eval/knn": 0.5} for step in (8, 16, 24, 25)
    }
    journal = list(records(RunFolder(str(tmp_path)).journal))
    (event,) = [r for r in journal if r.get("event") == "evaluation failed"]
    assert (event["step"], event["message"]) == (16, "ValueError: features hold NaN")
    assert not any((tmp_path / "snapshots").iterdir())


class Crash(Exception):
    """Stands for a machine that goes away."""


def test_what_a_crash_cut_short_is_evaluated_by_the_resumed_run(
    clipart_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(clipart_shards)
    loop_for(recipe, tmp_path / "undisturbed").run()
    held = threading.Event()

    def never(location: str) -> Evaluation:
        held.wait()
        raise OSError("the machine is gone")

    loop = loop_for(recipe, tmp_path / "disturbed", never)
    steps = iter(range(1000))

    def crashing(self: Optimization, batch: LearnerBatch) -> StepResult:
        if next(steps) == 14:
            raise Crash
        return step(self, batch)

    step = Optimization.step
    with monkeypatch.context() as patched:
        patched.setattr(Optimization, "step", crashing)
        with pytest.raises(Crash):
            loop.run()
    held.set()
    assert evaluations(tmp_path / "disturbed") == {}
    loop_for(recipe, tmp_path / "disturbed").run()
    whole, resumed = (evaluations(tmp_path / name) for name in ("undisturbed", "disturbed"))
    assert list(resumed) == list(whole)
    for number in whole:
        assert resumed[number]["metrics"] == whole[number]["metrics"]


def test_without_labels_the_panel_looks_at_the_data(clipart_shards: Path, tmp_path: Path) -> None:
    loop_for(recipe_for(clipart_shards, train=None, test=None, every=None), tmp_path).run()
    (found,) = evaluations(tmp_path).values()
    assert found["step"] == 25
    assert found["intervals"] == {}
    assert "eval/rankme" in found["metrics"]


def test_kinds_of_codes_stand_side_by_side(clipart_shards: Path, tmp_path: Path) -> None:
    """Of the weights at the end; the panel is of the first."""
    cmim = {"kind": "cmim", "width": 6, "decoder": {"kind": "conv", "channels": [16, 8]}}
    kinds = ["mean", "decoder_hidden", "pooled"]
    recipe = recipe_for(clipart_shards, objective=cmim, features=kinds, every=None)
    loop = loop_for(recipe, tmp_path)
    loop.run()
    (found,) = evaluations(tmp_path).values()
    metrics = found["metrics"]
    scores = {name for name in metrics if name.startswith(("eval/knn", "eval/naive"))}
    suffixes = ("", "_decoder_hidden", "_pooled")
    assert scores == {f"eval/{p}{s}" for p in ("knn", "naive_bayes") for s in suffixes}
    assert set(found["intervals"]) == scores
    assert metrics["eval/rankme"] <= 6

    sets = [load_probe_set(s, size=16, max_samples=50) for s in recipe.evaluate.sets or ()]
    autoencoder = loop.learner.objective.autoencoder.eval()
    scale = torch.tensor(recipe.views.std).view(1, 3, 1, 1)
    shift = torch.tensor(recipe.views.mean).view(1, 3, 1, 1)

    def by_hand(kind: str, images: Any) -> torch.Tensor:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            features = loop.learner.encoder.eval()((pixels - shift) / scale)
            mean = autoencoder.head.linear(features)[:, :6]
            hidden = autoencoder.decoder(mean).hidden[1].mean(dim=1)
        return {"mean": mean, "decoder_hidden": hidden, "pooled": features}[kind]

    for kind, suffix in zip(kinds, suffixes, strict=True):
        expected = probe_scores(
            partial(by_hand, kind), *sets, probes=recipe.evaluate.probes, seed=0
        )
        for probe, score in expected.items():
            assert metrics[f"eval/{probe}{suffix}"] == pytest.approx(score.accuracy, abs=0.021)


COLLAPSING = {"kind": "vicreg", "variance": 0.0, "projector": [32, 16]}


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_a_collapse_is_said_and_stops_the_run_if_it_is_to(
    action: str, clipart_shards: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(
        clipart_shards, objective=COLLAPSING, on_collapse=action, snapshot_samples=0
    )
    longer = recipe.train.model_copy(
        update={
            "steps": 100,
            "optimizer": recipe.train.optimizer.model_copy(update={"lr": 4e-3}),
        }
    )
    loop = loop_for(recipe.model_copy(update={"train": longer}), tmp_path)
    if action == "stop":
        with pytest.raises(
            UserError, match=r"complete collapse: projection_deviation is 0\.0"
        ) as e:
            loop.run()
        assert [problem.where for problem in e.value.problems] == ["evaluate.on_collapse"]
    else:
        loop.run()
    journal = list(records(RunFolder(str(tmp_path)).journal))
    event, *_ = [r for r in journal if r.get("event") == "collapse"]
    assert event["message"].startswith("complete collapse: projection_deviation is 0.0")
    losses = [r["metrics"]["loss"] for r in journal if r["kind"] == "metrics"]
    assert losses[-1] < losses[0] / 10
    assert (len(losses) == 100) == (action == "warn")
    assert any(json.loads(p.read_text()) for p in tmp_path.glob("checkpoints/*/COMPLETE.json"))


def test_snapshots_that_would_be_too_small_are_refused(clipart_shards: Path) -> None:
    small = {"snapshot_samples": 1000, "snapshot_share": 0.02}
    recipe = recipe_for(clipart_shards, every=2, **small)
    (problem,) = evaluation_plan.problems(recipe)
    assert problem.where == "evaluate.every"
    assert "2% of the samples in between are 9, too few;" in problem.message
    least = float(problem.message.partition("allowed: ")[2].split()[0])
    mended = recipe_for(clipart_shards, every=least, **small)
    assert evaluation_plan.problems(mended) == []
    nothing = recipe.train.model_copy(update={"global_batch": 256})
    assert evaluation_plan.problems(recipe.model_copy(update={"train": nothing})) == []
    below = recipe_for(clipart_shards, every=least - 0.2, **small)
    assert len(evaluation_plan.problems(below)) == 1
