"""The recipe's settings of MIM and A-MIM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.objectives.configs.latent import LatentObjectiveConfig

if TYPE_CHECKING:
    from pipeline.encoders.shape import EncoderShape
    from pipeline.objectives.mim import AMIM, MIM


class MIMConfig(LatentObjectiveConfig):
    """MIM (Livne et al., MIM: Mutual Information Machine, 2019), with q(x) the model's marginal.

    Half of its samples are the data's, half the model's own; `model_samples` is the weight of the
    latter, which begin when the warm-up is over.
    """

    kind: Literal["mim"]
    warm_up: Annotated[
        float, Field(ge=0, lt=1, description="share of the run in which beta goes from 0 to 1")
    ] = 0.05
    model_samples: Annotated[
        float, Field(ge=0, description="weight of the decoder's half; 0: samples of data alone")
    ] = 1.0

    def build(self, encoder: EncoderShape, *, global_batch: int) -> MIM:
        """The objective for an encoder of this feature width and image size.

        Raises:
            UserError: the decoder cannot make images of this size.
        """
        from pipeline.objectives.mim import MIM

        autoencoder = self.autoencoder(encoder)
        return MIM(config=self, autoencoder=autoencoder, feature_width=encoder.width)


class AMIMConfig(LatentObjectiveConfig):
    """A-MIM, its asymmetric form (Livne et al., SentenceMIM, 2020): samples of data alone."""

    kind: Literal["a_mim"]

    def build(self, encoder: EncoderShape, *, global_batch: int) -> AMIM:
        """The objective for an encoder of this feature width and image size.

        Raises:
            UserError: the decoder cannot make images of this size.
        """
        from pipeline.objectives.mim import AMIM

        autoencoder = self.autoencoder(encoder)
        return AMIM(config=self, autoencoder=autoencoder, feature_width=encoder.width)
