"""One optimisation step: schedule, noise, forward, backward, update. Plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pipeline import collectives
from pipeline.learning.config import OptimizerConfig, TrainConfig
from pipeline.learning.learner import Learner, LearnerBatch, StepResult
from pipeline.learning.schedules import learning_rate, weight_decay
from pipeline.randomness import seed_for


def build_optimizer(
    config: OptimizerConfig, module: nn.Module, *, constant_rate: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimizer.

    Biases, norms, scalars (temperatures) and what timm's models exempt (positions, class tokens)
    get no weight decay.

    Args:
        config: kind, rates and decay.
        module: all of whose parameters with gradient are updated.
        constant_rate: those that keep their peak rate; their groups have `constant_rate`, as those
            that are decayed have `decayed`.
    """
    constant = {id(weight) for weight in constant_rate}
    most = max(config.weight_decay, config.weight_decay_end or 0.0)
    groups = []
    for group in param_groups_weight_decay(module, most, no_weight_decay_list=_exempt(module)):
        for kept in (False, True):
            weights = [w for w in group["params"] if (id(w) in constant) == kept]
            if weights:
                flags = {"constant_rate": kept, "decayed": group["weight_decay"] > 0}
                groups.append({**group, "params": weights, **flags})
    # LAMB clips on its own unless told not to; `clip_norm` says what is clipped.
    extra: dict[str, Any] = {"max_grad_norm": None} if config.kind == "lamb" else {}
    if config.kind == "sgd" and config.momentum == 0:
        extra["nesterov"] = False  # which timm turns on, and torch refuses without momentum
    return create_optimizer_v2(
        groups,
        opt=config.kind,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        **extra,
    )


def _exempt(module: nn.Module) -> list[str]:
    """Names of weights that models among the module's parts say are not to be decayed."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, child in module.named_modules()
        if callable(names := getattr(child, "no_weight_decay", None))
        for name in names()
    ]


def _buffers_but_statistics(module: nn.Module) -> list[str]:
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, child in module.named_modules()
        if not isinstance(child, _BatchNorm)
        for name, _ in child.named_buffers(recurse=False)
    ]


class Optimization:
    """A learner, its optimizer and the global step."""

    def __init__(
        self,
        learner: Learner,
        *,
        config: TrainConfig,
        seed: int,
        total_steps: int,
        device: torch.device,
    ) -> None:
        """Wrap the learner for the ranks there are. Every rank calls this.

        Args:
            learner: moved to the device.
            config: the recipe's `train` section.
            seed: of dropout and the like.
            total_steps: of the whole run, for the schedule.
            device: where this rank computes.
        """
        self.learner = learner.to(device)
        self.step_count = 0
        self.gradient_norm = torch.zeros((), device=device)
        """Of the last step's gradient, before the update; a scalar on the device."""
        self._config = config
        self._seed = seed
        self._total_steps = total_steps
        self._device = device
        self._optimizer = build_optimizer(
            config.optimizer, learner, constant_rate=learner.objective.constant_rate_parameters()
        )
        self._module: nn.Module = learner
        if collectives.world_size() > 1:
            # Queues and the like are equal on all ranks by how they come about, and may be large.
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
                learner, _buffers_but_statistics(learner)
            )
            self._module = DistributedDataParallel(
                learner,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=config.batch_norm == "local",
            )

    def settle(self, batch: LearnerBatch) -> None:
        """Bring DDP to its final gradient buckets by two steps that leave no trace.

        DDP lays its buckets out anew after the first backward pass, which changes the order of
        sums. Doing this at every start makes a resumed run add up as the undisturbed one does.
        Every rank calls this before its first step, with a batch like the real ones.
        """
        if self._module is self.learner:
            return
        before = {name: value.clone() for name, value in self.learner.state_dict().items()}
        for _ in range(2):
            self._forward(batch).total.backward()
            self._optimizer.zero_grad()
        self.learner.load_state_dict(before)

    def step(self, batch: LearnerBatch) -> StepResult:
        """Take one optimisation step. Every rank calls this.

        Args:
            batch: on the device.
        """
        rate, decay = self.learning_rate, self.weight_decay
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.optimizer.lr if group["constant_rate"] else rate
            if group["decayed"]:
                group["weight_decay"] = decay
        # Dropout and drop-path may differ between ranks, but not between a run and its resumption.
        torch.manual_seed(seed_for(self._seed, "noise", self.step_count, collectives.rank()))
        result = self._forward(batch)
        self._optimizer.zero_grad()
        result.total.backward()
        gradients = [w.grad for w in self.learner.parameters() if w.grad is not None]
        self.gradient_norm = nn.utils.get_total_norm(gradients)
        if (most := self._config.optimizer.clip_norm) is not None:
            nn.utils.clip_grads_with_norm_(self.learner.parameters(), most, self.gradient_norm)
        self._optimizer.step()
        self.learner.after_step(batch, result, self.progress)
        self.step_count += 1
        return result

    @property
    def progress(self) -> float:
        """Share of the run's steps that are done."""
        return self.step_count / self._total_steps

    @property
    def learning_rate(self) -> float:
        """The rate of the step to come."""
        return learning_rate(
            self._config.optimizer, step=self.step_count, total_steps=self._total_steps
        )

    @property
    def weight_decay(self) -> float:
        """The decay of the step to come."""
        return weight_decay(self._config.optimizer, progress=self.progress)

    def _forward(self, batch: LearnerBatch) -> StepResult:
        step_seed = seed_for(self._seed, "step", self.step_count)
        with self._autocast():
            result: StepResult = self._module(batch, progress=self.progress, step_seed=step_seed)
        return result

    def _autocast(self) -> AbstractContextManager[object]:
        if self._config.precision == "fp32":
            return nullcontext()
        # With a cache, gradients of a weight that is used several times are summed in bfloat16.
        return torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and step."""
        return {
            "learner": self.learner.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step_count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; the weights must fit exactly."""
        self.learner.load_state_dict(state["learner"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._lay_out_moments_like_weights()
        self.step_count = state["step"]

    def _lay_out_moments_like_weights(self) -> None:
        """Give loaded moments the memory layout that a run without interruption gives them.

        Sums may round differently in another layout, and a resumed run must not differ in a bit.
        """
        for weight, moments in self._optimizer.state.items():
            for name, moment in moments.items():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    moments[name] = torch.empty_like(weight, dtype=moment.dtype).copy_(moment)
