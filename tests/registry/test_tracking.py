"""What MLflow has of a run, tested on a real store: an SQLite file."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from pipeline.errors import UserError
from pipeline.registry import tracking, tracking_server
from pipeline.registry.journal import Journal
from pipeline.registry.tracking import Forwarder, TrackedRun, forwarding, open_experiment

pytestmark = pytest.mark.fast


class Server:
    """Where the runs of a test module go."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.uri = f"sqlite:///{storage / 'mlflow.db'}"
        self.experiment = open_experiment(self.uri, "tests")
        self.client = MlflowClient(tracking_uri=self.uri)

    def run(self, name: str = "run", **params: object) -> TrackedRun:
        return TrackedRun.create(self.uri, self.experiment, name=name, params=params)

    def history(self, run: TrackedRun, key: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(run.run_id, key)
        return sorted((point.step, point.value) for point in points)


@pytest.fixture
def server(storage: Path) -> Server:
    return Server(storage)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


class Flaky(TrackedRun):
    """A server that is away for some calls, before or after it has stored what it was sent."""

    def __init__(self, run: TrackedRun, *, calls: str = "") -> None:
        """`calls` is what the next calls meet: `.` answers, `x` refuses, `?` stores, then fails."""
        super().__init__(run.uri, run.run_id)
        self.calls = list(calls)
        self.stored: Counter[tuple[str, int]] = Counter()

    def send(self, metrics: list[Metric]) -> None:
        assert 0 < len(metrics) <= 1000
        meets = self.calls.pop(0) if self.calls else "."
        if meets == "x":
            raise MlflowException("the server is away")
        super().send(metrics)
        self.stored.update((metric.key, metric.step) for metric in metrics)
        if meets == "?":
            raise MlflowException("the answer was lost")


def note(path: Path, steps: range) -> None:
    journal = Journal(str(path))
    for step in steps:
        journal.metrics(step, {"loss": step / 7, "rate": -step, "odd": step % 2})
        journal.event("something", step=step)


def assert_whole(server: Server, run: TrackedRun, steps: range) -> None:
    assert server.history(run, "loss") == [(step, step / 7) for step in steps]
    assert server.history(run, "rate") == [(step, -step) for step in steps]
    assert server.history(run, "odd") == [(step, step % 2) for step in steps]


def test_an_experiment_is_made_once_with_its_artifacts_in_the_storage_folder(
    server: Server,
) -> None:
    assert open_experiment(server.uri, "tests") == server.experiment
    found = server.client.get_experiment(server.experiment)
    assert found.artifact_location == (server.storage / "artifacts" / "tests").as_uri()


def test_a_deleted_experiment_is_the_users_to_restore(server: Server) -> None:
    server.client.delete_experiment(open_experiment(server.uri, "gone"))
    with pytest.raises(UserError, match=r"tracking.experiment: gone was deleted"):
        open_experiment(server.uri, "gone")


def test_a_run_is_made_with_its_name_and_all_its_parameters(server: Server) -> None:
    many = {f"encoder.args.{number}": number for number in range(250)}
    run = server.run("named", **many, **{"data.shards": "x" * 7000, "views.size": [1, None]})
    data = server.client.get_run(run.run_id)
    assert data.info.run_name == "named"
    assert data.info.status == "RUNNING"
    assert len(data.data.params) == 252
    assert data.data.params["encoder.args.249"] == "249"
    assert data.data.params["views.size"] == "[1, None]"
    assert data.data.params["data.shards"] == "x" * 6000


def test_a_run_can_be_taken_up_after_it_failed(server: Server) -> None:
    run = server.run()
    statuses = []
    for act in (
        lambda: run.finish(failed=True),
        run.reopen,
        lambda: run.finish(failed=False),
    ):
        act()
        statuses.append(server.client.get_run(run.run_id).info.status)
    assert statuses == ["FAILED", "RUNNING", "FINISHED"]


def test_the_journal_is_forwarded_as_it_grows(server: Server, path: Path) -> None:
    run = server.run()
    forwarder = Forwarder(str(path), run)
    forwarder.forward()
    assert run.steps() == {}
    note(path, range(3))
    forwarder.forward()
    assert_whole(server, run, range(3))
    note(path, range(5))
    forwarder.forward()
    forwarder.forward()
    assert_whole(server, run, range(5))
    assert run.steps() == {key: set(range(5)) for key in ("loss", "rate", "odd")}


def test_what_was_found_out_later_is_forwarded_at_the_step_it_is_about(
    server: Server, path: Path
) -> None:
    run = server.run()
    journal = Journal(str(path))
    for step in (10, 20):
        journal.metrics(step, {"loss": 1.0})
    journal.evaluation(10, {"eval/knn": 0.5}, {"eval/knn": [0.4, 0.6]})
    Forwarder(str(path), run).forward()
    journal.evaluation(20, {"eval/knn": 0.75}, {})
    forwarder = Forwarder(str(path), run)
    forwarder.forward()
    journal.evaluation(15, {"eval/knn": 0.25}, {})  # left out at first, taken by a resumed run
    forwarder.forward()
    Forwarder(str(path), run).forward()
    assert server.history(run, "eval/knn") == [(10, 0.5), (15, 0.25), (20, 0.75)]


@pytest.mark.parametrize(("action", "tagged"), [("warn", False), ("tag", True), ("stop", True)])
def test_a_collapse_is_a_tag_if_the_recipe_wants_that(
    action: str, tagged: bool, server: Server, path: Path
) -> None:
    run = server.run()
    Journal(str(path)).event("collapse", step=30, message="complete collapse", action=action)
    Forwarder(str(path), run).forward()
    tags = server.client.get_run(run.run_id).data.tags
    assert tags.get("collapse") == ("complete collapse, at step 30" if tagged else None)


def test_a_new_forwarder_over_the_same_journal_sends_nothing_twice(
    server: Server, path: Path
) -> None:
    run = server.run()
    note(path, range(4))
    Forwarder(str(path), run).forward()
    note(path, range(6))
    second = Flaky(run)
    Forwarder(str(path), second).forward()
    assert set(second.stored) == {(key, step) for key in ("loss", "rate", "odd") for step in (4, 5)}
    assert_whole(server, run, range(6))


def test_a_crash_between_batches_of_a_long_journal_loses_and_repeats_nothing(
    server: Server, path: Path
) -> None:
    run = server.run()
    note(path, range(700))
    crashed = Flaky(run, calls=".x")
    with pytest.raises(MlflowException):
        Forwarder(str(path), crashed).forward()
    assert crashed.stored.total() == 1000  # the cut lies within a step's three metrics
    second = Flaky(run)
    Forwarder(str(path), second).forward()
    assert set((crashed.stored + second.stored).values()) == {1}
    assert (crashed.stored + second.stored).total() == 2100
    assert_whole(server, run, range(700))


@pytest.mark.parametrize("calls", ["x", "xxx", ".x.", "?", "x?x", "?.?"])
def test_a_server_that_is_away_for_a_while_costs_nothing(
    server: Server, path: Path, calls: str
) -> None:
    run = Flaky(server.run(), calls=calls)
    forwarder = Forwarder(str(path), run)
    for stop in range(1, 9):
        note(path, range(stop))
        try:
            forwarder.forward()
        except MlflowException:
            assert set(calls) & {"x", "?"}
    assert_whole(server, run, range(8))
    assert run.calls == []


def test_forwarding_in_the_background_outlives_a_server_that_is_away(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "_POLL_SECONDS", 0.02)
    run = Flaky(server.run(), calls="xxx")
    with forwarding(Forwarder(str(path), run)):
        note(path, range(4))
        for _ in range(500):
            if not run.calls:
                break
            tracking.time.sleep(0.02)
        note(path, range(6))
    assert_whole(server, run, range(6))
    assert caplog.text.count("metrics wait in the journal") == 1


def test_a_server_that_is_away_at_the_end_is_told_to_the_caller(server: Server, path: Path) -> None:
    note(path, range(2))
    with (
        pytest.raises(MlflowException),
        forwarding(Forwarder(str(path), Flaky(server.run(), calls="xx"))),
    ):
        pass


def test_a_server_that_is_away_does_not_hide_why_the_training_failed(
    server: Server, path: Path
) -> None:
    note(path, range(2))
    with (
        pytest.raises(ZeroDivisionError),
        forwarding(Forwarder(str(path), Flaky(server.run(), calls="xx"))),
    ):
        _ = 1 / 0


def test_final_figures_are_logged_once_for_each_end(server: Server) -> None:
    run = server.run()
    run.log_summary({"knn": 0.5}, step=9)
    run.log_summary({"knn": 0.5, "linear": 0.75}, step=9)
    assert server.history(run, "knn") == [(9, 0.5)]
    assert server.history(run, "linear") == [(9, 0.75)]
    run.log_summary({"knn": 0.625}, step=20)
    assert server.history(run, "knn") == [(9, 0.5), (20, 0.625)]


def test_tags_and_files_are_kept_with_the_run(server: Server, tmp_path: Path) -> None:
    run = server.run()
    run.tag({"data.fingerprint": "abc"})
    run.tag({"data.fingerprint": "abd"})
    recipe = tmp_path / "recipe.yaml"
    for text in ("seed: 0", "seed: 1"):
        recipe.write_text(text)
        run.log_files([str(recipe)])
    assert server.client.get_run(run.run_id).data.tags["data.fingerprint"] == "abd"
    (stored,) = server.client.list_artifacts(run.run_id)
    assert stored.path == "recipe.yaml"
    (kept,) = (server.storage / "artifacts" / "tests").rglob("recipe.yaml")
    assert kept.read_text() == "seed: 1"


def test_where_mlflow_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_server.tracking_uri(None, "runs") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env")
    assert tracking_server.tracking_uri(None, "runs") == "http://env"
    assert tracking_server.tracking_uri("http://given", "runs") == "http://given"


def test_a_store_that_is_no_server_is_not_knocked_at(server: Server) -> None:
    assert tracking_server.unreachable(server.uri) is None
    problem = tracking_server.unreachable("http://127.0.0.1:9")
    assert problem is not None
    assert re.match(r"tracking.uri: http://127.0.0.1:9 does not answer", str(problem))
