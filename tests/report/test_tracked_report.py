"""Reports that are drawn anew, and a real MLflow store in an SQLite file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.registry.tracking import TrackedRun, open_experiment
from pipeline.report.tracked_report import track_report
from pipeline.report.writing import Report
from pipeline.runs.folder import RunFolder, write_json

pytestmark = pytest.mark.fast


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    page = tmp_path / "run" / "report.html"
    page.parent.mkdir()
    page.write_text("drawn anew")
    return Report(page=str(page), bad_pairs=None)


def folder_of(tmp_path: Path, *, uri: str, run_id: str) -> RunFolder:
    folder = RunFolder(str(tmp_path / "run"))
    write_json(folder.identity, {"identity": {}, "run_id": run_id, "tracking_uri": uri})
    return folder


def warning(caplog: pytest.LogCaptureFixture) -> str:
    (told,) = caplog.messages
    assert "\n" not in told
    return told


def test_it_takes_the_place_of_the_one_before(tmp_path: Path, uri: str, report: Report) -> None:
    run = TrackedRun.create(uri, open_experiment(uri, "tests"), name="run", params={})
    earlier = tmp_path / "report.html"
    earlier.write_text("drawn at the end")
    run.log_files([str(earlier)])
    assert track_report(report, folder_of(tmp_path, uri=uri, run_id=run.run_id))
    stored = MlflowClient(tracking_uri=uri).download_artifacts(run.run_id, "report.html")
    assert Path(stored).read_text() == "drawn anew"


def test_a_store_that_is_elsewhere_is_told_and_not_made(
    tmp_path: Path, uri: str, report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not track_report(report, folder_of(tmp_path, uri=uri, run_id="1"))
    assert "the report is not in MLflow" in warning(caplog)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_is_away_is_told(
    tmp_path: Path, report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    away = folder_of(tmp_path, uri="http://127.0.0.1:1", run_id="1")
    with caplog.at_level(logging.WARNING):
        assert not track_report(report, away)
    assert "does not answer" in warning(caplog)


def test_a_store_of_files_that_cannot_be_written_is_told(
    tmp_path: Path, uri: str, report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    """A sort that is unknown here: others too have errors of their own, as of credentials."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("elsewhere", artifact_location="nowhere://bucket")
    run = client.create_run(experiment)
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert not track_report(report, folder_of(tmp_path, uri=uri, run_id=run.info.run_id))
    assert "the report is not in MLflow" in warning(caplog)


def test_a_run_that_mlflow_has_lost_is_told(
    tmp_path: Path, uri: str, report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    open_experiment(uri, "tests")
    with caplog.at_level(logging.WARNING):
        assert not track_report(report, folder_of(tmp_path, uri=uri, run_id="absent"))
    assert "absent" in warning(caplog)
