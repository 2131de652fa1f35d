"""Promotion, on a real MLflow: an alias moves to what is not worse, or the figures say why not."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.errors import UserError
from pipeline.evaluation.probes.score import Score
from pipeline.registry.promotion import Promotion, promote
from pipeline.registry.versions.gate import Standing, comparison
from pipeline.registry.versions.listing import models
from pipeline.registry.versions.tags import FORCED_TAG, VersionFacts, as_tags, from_tags
from tests.registry.packages import make_package, new_run, register

pytestmark = pytest.mark.fast

GOOD = VersionFacts(
    run="simclr-1",
    objective="simclr",
    encoder="resnet10t",
    features="pooled",
    width=32,
    data_fingerprint="abc",
    probe_data="photos",
    scores={
        "knn": Score(0.8, 0.78, 0.82),
        "knn_raw": Score(0.3, 0.28, 0.32),
        "linear": Score(0.85, 0.83, 0.87),
    },
    panel={"rankme": 20.0},
    panel_data="views",
    collapse="none",
)


def with_scores(**accuracies: float) -> VersionFacts:
    return replace(GOOD, scores={n: Score(a, a - 0.02, a + 0.02) for n, a in accuracies.items()})


@pytest.fixture
def uri(storage: Path) -> str:
    return f"sqlite:///{storage}/mlflow.db"


@pytest.fixture
def add(uri: str, tmp_path: Path) -> Callable[[VersionFacts], str]:
    """Registers a version with such facts; gives the model's name, one for each test."""
    name = f"promoted-{secrets.token_hex(4)}"
    seeds = iter(range(100))

    def register_one(facts: VersionFacts, tags: Mapping[str, str] | None = None) -> str:
        seed = next(seeds)
        folder = make_package(tmp_path / str(seed), seed)
        sha256 = hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest()
        told = as_tags(replace(facts, encoder_sha256=sha256)) if tags is None else tags
        register(folder, name=name, run=new_run(uri, str(seed)), tags=told)
        return name

    return register_one


def failed(found: Promotion) -> dict[str, str]:
    assert not found.promoted
    return {check.name: check.message for check in found.checks if not check.passed}


def champion(name: str, uri: str) -> str:
    version = MlflowClient(tracking_uri=uri).get_model_version_by_alias(name, "champion").version
    return str(version)


def test_facts_survive_their_tags() -> None:
    facts = replace(GOOD, parity="1e-7", collapse="rank 1.2, at step 30")
    assert from_tags(as_tags(facts)) == facts
    assert from_tags(as_tags(facts)).collapsed
    assert from_tags({}) == VersionFacts()
    strange = {"probe.knn": "good", "panel.rankme": "high", "width": "wide", "probe.linear": "0.5"}
    assert from_tags(strange) == VersionFacts(scores={"linear": Score(0.5, 0.5, 0.5)})


def test_a_first_champion_needs_no_other_and_a_better_one_takes_its_place(
    add: Callable[[VersionFacts], str], uri: str
) -> None:
    name = add(GOOD)
    first = promote(name, tracking_uri=uri)
    assert (first.promoted, first.before, first.version) == (True, None, 1)
    add(with_scores(knn=0.79, linear=0.9))  # within the interval of the first one's kNN
    second = promote(name, tracking_uri=uri)
    assert (second.promoted, second.before, second.version) == (True, 1, 2)
    assert champion(name, uri) == "2"
    assert {check.name for check in second.checks} == {"parity", "collapse", "knn", "linear"}
    back = promote(name, version=1, to="previous", tracking_uri=uri)
    assert back.promoted
    assert champion(name, uri) == "2"
    again = promote(name, tracking_uri=uri)
    assert (again.promoted, again.before) == (True, 2)


def test_a_worse_one_is_kept_out_with_the_figures_unless_forced(
    add: Callable[[VersionFacts], str], uri: str
) -> None:
    name = add(GOOD)
    promote(name, tracking_uri=uri)
    add(with_scores(knn=0.77, linear=0.86))
    told = failed(promote(name, tracking_uri=uri))
    assert told == {
        "knn": "version 2 0.770 [0.750, 0.790], version 1 0.800 [0.780, 0.820]: worse, beyond the "
        "interval"
    }
    assert champion(name, uri) == "1"
    forced = promote(name, force=True, tracking_uri=uri)
    assert (forced.promoted, forced.forced) == (True, True)
    assert champion(name, uri) == "2"
    tags = MlflowClient(tracking_uri=uri).get_model_version(name, "2").tags
    assert "champion, " in tags[FORCED_TAG]
    assert "knn: version 2 0.770" in tags[FORCED_TAG]
    listed = models(name, tracking_uri=uri)
    assert [(v.version, v.aliases) for v in listed] == [(2, ["candidate", "champion"]), (1, [])]
    assert (listed[0].forced, listed[1].forced) == (tags[FORCED_TAG], None)


def test_a_collapsed_one_is_kept_out(add: Callable[[VersionFacts], str], uri: str) -> None:
    name = add(replace(GOOD, collapse="feature_rank 1.0, at step 40"))
    told = failed(promote(name, tracking_uri=uri))
    assert told == {"collapse": "version 1: feature_rank 1.0, at step 40"}


def test_a_damaged_one_is_kept_out(add: Callable[[VersionFacts], str], uri: str) -> None:
    name = add(GOOD)
    MlflowClient(tracking_uri=uri).set_model_version_tag(name, "1", "encoder_sha256", "0" * 64)
    assert "not the one that was registered" in failed(promote(name, tracking_uri=uri))["parity"]


def test_a_version_of_before_says_what_it_does_not_tell(add: Callable[..., str], uri: str) -> None:
    name = add(GOOD, tags={"encoder_sha256": "unknown"})
    MlflowClient(tracking_uri=uri).delete_model_version_tag(name, "1", "parity")
    MlflowClient(tracking_uri=uri).delete_model_version_tag(name, "1", "encoder_sha256")
    told = failed(promote(name, tracking_uri=uri))
    assert set(told) == {"parity", "collapse"}
    assert all("by a release that did not" in message for message in told.values())


WITHOUT = replace(GOOD, scores={}, probe_data=None)


@pytest.mark.parametrize(
    ("candidate", "holder", "passes", "told"),
    [
        (GOOD, replace(GOOD, probe_data="other"), False, "scored on different data; give --train"),
        (WITHOUT, GOOD, False, "the candidate has no probes; give --train and --test"),
        (GOOD, WITHOUT, False, "the champion has no probes; give --train and --test"),
        (
            with_scores(naive_bayes=0.9),
            GOOD,
            False,
            "candidate has naive_bayes, the champion knn",
        ),
        (WITHOUT, WITHOUT, True, "RankMe 20 of the candidate, 20 of the champion"),
        (replace(WITHOUT, panel={"rankme": 18.1}), WITHOUT, True, "proves no gain"),
        (replace(WITHOUT, panel={"rankme": 17.9}), WITHOUT, False, "at least 18 wanted"),
        (replace(WITHOUT, panel={}), WITHOUT, False, "RankMe of both is not known"),
        (replace(WITHOUT, objective="byol"), WITHOUT, False, "they have different objectives"),
        (
            replace(WITHOUT, width=64, panel_data="x"),
            WITHOUT,
            False,
            "different widths of features and samples or views of the panel",
        ),
        (replace(WITHOUT, panel={"rankme": float("nan")}), WITHOUT, False, "RankMe nan"),
        (with_scores(knn=float("nan")), GOOD, False, "worse"),
    ],
)
def test_what_figures_decide(
    candidate: VersionFacts, holder: VersionFacts, passes: bool, told: str
) -> None:
    checks = comparison(
        Standing("the candidate", candidate), Standing("the champion", holder), alias="champion"
    )
    assert all(check.passed for check in checks) == passes
    assert any(told in check.message and check.passed == passes for check in checks)


def test_versions_of_different_data_are_scored_on_data_that_is_given(
    add: Callable[[VersionFacts], str], uri: str, clipart_shards: Path
) -> None:
    name = add(GOOD)
    promote(name, tracking_uri=uri)
    add(replace(GOOD, probe_data="other"))
    assert "--train" in failed(promote(name, tracking_uri=uri))["probes"]
    data: dict[str, Any] = {"train": clipart_shards / "train", "test": clipart_shards / "test"}
    found = promote(name, tracking_uri=uri, **data)
    assert {check.name for check in found.checks} >= {"knn", "linear", "naive_bayes"}
    told = next(check.message for check in found.checks if check.name == "linear")
    assert "0.850" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"to": "candidate", "train": "a"}, r"--to: 'candidate' is no alias.*\n--train, --test"),
        ({"to": "a b"}, "--to: 'a b' is no alias"),
        ({"to": "v3"}, "--to: 'v3' is no alias"),
        ({"to": ""}, "--to: '' is no alias"),
        ({"version": 7}, "has no version 7; the newest: 1"),
    ],
)
def test_mistakes_are_told(
    add: Callable[[VersionFacts], str], uri: str, options: dict[str, Any], told: str
) -> None:
    name = add(GOOD)
    with pytest.raises(UserError, match=told):
        promote(name, tracking_uri=uri, **options)


def test_a_model_that_is_no_encoder_is_told(uri: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    client.create_registered_model("somebody elses")
    with pytest.raises(UserError, match="is registered, but has no version"):
        promote("somebody elses", tracking_uri=uri)
    assert "somebody elses" not in {version.name for version in models(tracking_uri=uri)}
    with pytest.raises(UserError, match="no model nobodys is registered"):
        models("nobodys", tracking_uri=uri)


@pytest.mark.parametrize("name", ["it's", 'x"y', "a b", "ü-%20", "100%"])
def test_a_model_may_have_any_name(uri: str, tmp_path: Path, name: str) -> None:
    run = new_run(uri, "odd")
    folder = make_package(tmp_path / "package", 0)
    sha256 = hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest()
    tags = as_tags(replace(GOOD, encoder_sha256=sha256))
    first = register(folder, name=name, run=run, tags=tags)
    assert register(folder, name=name, run=run, tags=tags) == first
    assert promote(name, tracking_uri=uri).promoted
    (listed,) = models(name, tracking_uri=uri)
    assert listed.aliases == ["candidate", "champion"]
