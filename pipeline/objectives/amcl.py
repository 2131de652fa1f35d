"""AMCL: several heads, and for every pair of every head a temperature of its own."""

from __future__ import annotations

from pipeline.encoders.heads import MultiHead, mlp
from pipeline.encoders.shape import EncoderShape
from pipeline.objectives.base import Objective
from pipeline.objectives.configs.amcl import EMA, QUEUE, AMCLConfig
from pipeline.objectives.parts.amcl_contrastive import AMCLMoCo, AMCLSimCLR
from pipeline.objectives.parts.amcl_siamese import AMCLBarlow, AMCLSimSiam
from pipeline.objectives.parts.pair_temperature import AdaptiveParts, PairTemperature


def build_amcl(config: AMCLConfig, encoder: EncoderShape, *, global_batch: int) -> Objective:
    """AMCL over the base that its settings name.

    Args:
        config: its settings.
        encoder: that it is for.
        global_batch: samples in a step.
    """
    width = config.widths[-1]
    heads = MultiHead(
        mlp(
            encoder.width,
            config.widths,
            hidden_norm=config.base != "moco",
            output_norm=config.base in ("simclr", "simsiam"),  # as its own head
        )
        for _ in range(config.heads)
    )
    temperature = PairTemperature(
        # Barlow Twins compares dimensions: vectors of as many entries as the batch has samples.
        width=global_batch if config.base == "barlow" else width,
        hidden=config.hidden,
        least=config.temperature_least,
        most=config.temperature_most,
    )
    parts = AdaptiveParts(
        feature_width=encoder.width,
        heads=heads,
        width=width,
        temperature=temperature,
        beta=config.beta,
    )
    if config.base == "simclr":
        return AMCLSimCLR(parts, top_k=config.top_k_of(2 * (global_batch - 1)))
    if config.base == "moco":
        size = config.queue or QUEUE
        return AMCLMoCo(parts, top_k=config.top_k_of(size), queue=size, ema=config.ema or EMA)
    if config.base == "simsiam":
        hidden = (512,) if config.predictor is None else config.predictor
        return AMCLSimSiam(parts, predictor=hidden)
    redundancy = 0.005 if config.redundancy is None else config.redundancy
    return AMCLBarlow(parts, redundancy=redundancy, global_batch=global_batch)
