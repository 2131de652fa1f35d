"""MoCo: keys of an EMA twin, negatives out of a queue of past ones."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.configs.ema import EMAConfig
from pipeline.encoders.ema import EMATwin
from pipeline.encoders.heads import mlp
from pipeline.objectives.base import Capabilities, EncodedViews, PairLosses, at_least_float32
from pipeline.objectives.configs.moco import MoCoConfig
from pipeline.objectives.parts.contrast import (
    ContrastiveObjective,
    own_products,
    pair_cross_entropy,
)
from pipeline.objectives.parts.key_queue import KeyQueue
from pipeline.objectives.parts.log_sum_exp import log_sum_exp
from pipeline.objectives.parts.partners import GLOBAL_VIEWS


class MoCo(ContrastiveObjective):
    """Queries of the encoder against their keys of the twin and the queue.

    In `negative_weights` other samples of the batch stand in for the queue.
    """

    capabilities = Capabilities(
        views=GLOBAL_VIEWS, local_views=True, mining="per_sample", arbitration="per_view"
    )
    ema: EMAConfig

    def __init__(self, *, config: MoCoConfig, feature_width: int) -> None:
        super().__init__(
            feature_width=feature_width,
            projector=mlp(feature_width, config.projector, hidden_norm=False),
            temperature=config.temperature,
        )
        self.ema = config.ema
        self.target_projector = EMATwin(self.projector)
        self.queue = KeyQueue(views=GLOBAL_VIEWS, size=config.queue, width=config.projector[-1])

    def forward(self, views: EncodedViews) -> PairLosses:
        """Each view's cross entropy with the keys of the global views other than itself."""
        assert views.targets is not None
        q_VBD = F.normalize(self.project_views(views.features), dim=-1)
        keys = at_least_float32(self.of_views(self.target_projector, views.targets))
        k_GBD = F.normalize(keys, dim=-1)
        temperature = self.temperature(views.progress)
        loss = queue_cross_entropy(q_VBD, k_GBD, self.queue.keys, temperature=temperature)
        self.queue.offer(k_GBD)
        return self.pair_losses(loss, q_VBD, temperature=temperature)

    def after_step(self, progress: float) -> None:
        """Move the key head and the queue."""
        super().after_step(progress)
        self.target_projector.follow(self.projector, self.ema.momentum(progress))
        self.queue.advance()


def queue_cross_entropy(
    q_VBD: Tensor, k_GBD: Tensor, queue_GKD: Tensor, *, temperature: Tensor | float
) -> Tensor:
    """Cross entropy of each query's own key among the queue's (MoCo, equation 1).

    loss[v, i] is the mean over the global views g other than v of
    -log(exp(q_vi . k_gi / tau) / (exp(q_vi . k_gi / tau) + sum_n exp(q_vi . queue_gn / tau))).

    Args:
        q_VBD: unit vectors of this rank's samples, the G global views first.
        k_GBD: unit vectors, the twin's, of the same samples.
        queue_GKD: unit vectors, each view's past keys.
        temperature: tau.

    Returns:
        (V, B).
    """
    scaled = q_VBD / temperature
    queues = queue_GKD.to(scaled.dtype)
    return pair_cross_entropy(
        own_products(scaled, k_GBD),
        lambda view, partner: log_sum_exp(scaled[view], queues[partner]),
    )
