"""The cluster file against the schema that ships with Ray."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]


def test_cluster_yaml_is_valid() -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    jsonschema.validate(cluster, json.loads(schema.read_text()))
