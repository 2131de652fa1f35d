"""Self-supervised pretraining on Ray: shards in, a probed and registered encoder out.

    import pipeline

    pipeline.shard("photos/", "shards/", test_fraction=0.2)
    print(pipeline.plan("recipe.yaml"))
    result = pipeline.pretrain("recipe.yaml")
    encoder = pipeline.load_encoder(result.encoder)  # a folder, if runs are kept on a disk

Every name in `__all__` is public; what it needs is imported when it is first used. All else may
change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline import collectives as collectives
    from pipeline.data.sources.convert import index as index
    from pipeline.data.sources.convert import shard as shard
    from pipeline.embedding.driver import EmbeddingResult as EmbeddingResult
    from pipeline.embedding.driver import embed as embed
    from pipeline.encoders.configs.heads import HiddenWidths as HiddenWidths
    from pipeline.encoders.configs.heads import Widths as Widths
    from pipeline.encoders.heads import mlp as mlp
    from pipeline.errors import InterruptedRunError as InterruptedRunError
    from pipeline.errors import Problem as Problem
    from pipeline.errors import UserError as UserError
    from pipeline.json_schema import recipe_schema as recipe_schema
    from pipeline.learning.learner import Learner as Learner
    from pipeline.learning.learner import LearnerBatch as LearnerBatch
    from pipeline.learning.learner import build_learner as build_learner
    from pipeline.objectives.base import Capabilities as Capabilities
    from pipeline.objectives.base import EncodedViews as EncodedViews
    from pipeline.objectives.base import Objective as Objective
    from pipeline.objectives.base import PairLosses as PairLosses
    from pipeline.objectives.configs.base import ObjectiveConfig as ObjectiveConfig
    from pipeline.pairs.base import Arbiter as Arbiter
    from pipeline.pairs.base import Miner as Miner
    from pipeline.pairs.base import Verdict as Verdict
    from pipeline.pairs.config import ArbiterConfig as ArbiterConfig
    from pipeline.pairs.config import MinerConfig as MinerConfig
    from pipeline.planning.first_recipe import FirstRecipe as FirstRecipe
    from pipeline.planning.first_recipe import init_recipe as init_recipe
    from pipeline.planning.plan import Plan as Plan
    from pipeline.planning.plan import plan as plan
    from pipeline.recipe import Recipe as Recipe
    from pipeline.recipe_file import load_recipe as load_recipe
    from pipeline.registry.evaluate import evaluate as evaluate
    from pipeline.registry.packages.encoder import PackagedEncoder as PackagedEncoder
    from pipeline.registry.promotion import Promotion as Promotion
    from pipeline.registry.promotion import promote as promote
    from pipeline.registry.versions.listing import ListedVersion as ListedVersion
    from pipeline.registry.versions.listing import models as models
    from pipeline.registry.versions.resolve import Fetched as Fetched
    from pipeline.registry.versions.resolve import fetch as fetch
    from pipeline.registry.versions.resolve import load_encoder as load_encoder
    from pipeline.report.tracked_report import draw_report as draw_report
    from pipeline.sweeps.driver import SweepResult as SweepResult
    from pipeline.sweeps.driver import sweep as sweep
    from pipeline.sweeps.plan import SweepPlan as SweepPlan
    from pipeline.sweeps.plan import plan_sweep as plan_sweep
    from pipeline.training.driver import Result as Result
    from pipeline.training.driver import pretrain as pretrain
    from pipeline.training.reading import batches as batches
    from pipeline.training.replay import Verification as Verification
    from pipeline.training.replay import verify as verify

__version__ = "0.1.0"

_ROOMS = {
    # verbs
    "init_recipe": "planning.first_recipe",
    "shard": "data.sources.convert",
    "index": "data.sources.convert",
    "load_recipe": "recipe_file",
    "recipe_schema": "json_schema",
    "plan": "planning.plan",
    "pretrain": "training.driver",
    "plan_sweep": "sweeps.plan",
    "sweep": "sweeps.driver",
    "draw_report": "report.tracked_report",
    "evaluate": "registry.evaluate",
    "embed": "embedding.driver",
    "models": "registry.versions.listing",
    "promote": "registry.promotion",
    "fetch": "registry.versions.resolve",
    "load_encoder": "registry.versions.resolve",
    "verify": "training.replay",
    # one's own loop
    "batches": "training.reading",
    "build_learner": "learning.learner",
    # what these give and raise
    "Recipe": "recipe",
    "FirstRecipe": "planning.first_recipe",
    "Plan": "planning.plan",
    "Result": "training.driver",
    "EmbeddingResult": "embedding.driver",
    "SweepPlan": "sweeps.plan",
    "SweepResult": "sweeps.driver",
    "ListedVersion": "registry.versions.listing",
    "Promotion": "registry.promotion",
    "Fetched": "registry.versions.resolve",
    "PackagedEncoder": "registry.packages.encoder",
    "Verification": "training.replay",
    "Learner": "learning.learner",
    "LearnerBatch": "learning.learner",
    "Problem": "errors",
    "UserError": "errors",
    "InterruptedRunError": "errors",
    # objectives, miners and arbiters of one's own
    "Objective": "objectives.base",
    "ObjectiveConfig": "objectives.configs.base",
    "Capabilities": "objectives.base",
    "EncodedViews": "objectives.base",
    "PairLosses": "objectives.base",
    "Miner": "pairs.base",
    "MinerConfig": "pairs.config",
    "Arbiter": "pairs.base",
    "ArbiterConfig": "pairs.config",
    "Verdict": "pairs.base",
    "mlp": "encoders.heads",
    "Widths": "encoders.configs.heads",
    "HiddenWidths": "encoders.configs.heads",
}

__all__ = [
    "Arbiter",
    "ArbiterConfig",
    "Capabilities",
    "EmbeddingResult",
    "EncodedViews",
    "Fetched",
    "FirstRecipe",
    "HiddenWidths",
    "InterruptedRunError",
    "Learner",
    "LearnerBatch",
    "ListedVersion",
    "Miner",
    "MinerConfig",
    "Objective",
    "ObjectiveConfig",
    "PackagedEncoder",
    "PairLosses",
    "Plan",
    "Problem",
    "Promotion",
    "Recipe",
    "Result",
    "SweepPlan",
    "SweepResult",
    "UserError",
    "Verdict",
    "Verification",
    "Widths",
    "batches",
    "build_learner",
    "collectives",
    "draw_report",
    "embed",
    "evaluate",
    "fetch",
    "index",
    "init_recipe",
    "load_encoder",
    "load_recipe",
    "mlp",
    "models",
    "plan",
    "plan_sweep",
    "pretrain",
    "promote",
    "recipe_schema",
    "shard",
    "sweep",
    "verify",
]


if not TYPE_CHECKING:  # a checker would take every name for one that is found here

    def __getattr__(name: str) -> Any:
        if name == "collectives":
            return import_module("pipeline.collectives")
        if name not in _ROOMS:
            raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
        value = getattr(import_module(f"pipeline.{_ROOMS[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
