"""How far a Ray Data pipeline reads ahead of its worker: a bound in slices, kept at rest."""

from __future__ import annotations

import threading
from typing import Any

# Ray keeps its policies in private modules although DataContext takes them as a setting.
from ray.data._internal.execution.backpressure_policy.backpressure_policy import BackpressurePolicy
from ray.data._internal.execution.interfaces import PhysicalOperator
from ray.data._internal.execution.operators.map_operator import MapOperator

from pipeline.data.reading.ray_words import Submitted

_SHORTEST_REST = 0.02  # seconds
_LONGEST_REST = 0.5


class Taken:
    """How many of the worker's slices it has done with, in all of its data sets."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def one_more(self) -> None:
        """Count a slice, and wake who rests."""
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def rest(self, count: int, seconds: float) -> None:
        """Return when the count is another one, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.count != count, seconds)

    def __deepcopy__(self, _: Any) -> Taken:
        return self  # Ray copies the settings of every data set; they all count on the same

    def __reduce__(self) -> tuple[type[Taken], tuple[()]]:
        return Taken, ()  # settings travel with every task too, where nobody counts


class ReadAhead(BackpressurePolicy):
    """Submits a read task while fewer than `tasks` are submitted and `slices` are under way.

    Ray's own policies bound bytes by leaving finished outputs where they are. Its executor, which
    runs in a thread of the training process, then finds them ready and turns without a pause: that
    took a third of a core and, through the interpreter lock, slowed training to a third. Here the
    outputs are always taken, tasks are held back instead, and while none runs the thread rests
    until the worker has done with a slice: twice as long each time at most, so that a reader that
    is far ahead of a slow step costs next to nothing.
    """

    def __init__(
        self,
        *executor: Any,
        tasks: int,
        slices: int,
        first: int,
        taken: Taken,
        submitted: Submitted,
    ) -> None:
        """Count from a data set's place in the worker's order.

        Args:
            executor: what Ray hands over.
            tasks: at a time.
            slices: submitted and not yet done with, in this data set and those before it.
            first: slices in the data sets before it.
            taken: slices that the worker has done with.
            submitted: gets the tasks that are under way.
        """
        super().__init__(*executor)
        self._tasks = tasks
        self._slices = slices
        self._first = first
        self._taken = taken
        self._submitted = submitted
        self._rest = _SHORTEST_REST

    def can_add_input(self, op: PhysicalOperator) -> bool:
        """Whether the operator may start another task; called in each turn of the executor."""
        if not isinstance(op, MapOperator):
            return True
        running = op.num_active_tasks()
        self._submitted.note(self._first, [task.task_index() for task in op.get_active_tasks()])
        taken = self._taken.count
        under_way = self._first + op.metrics.num_tasks_submitted - taken
        if under_way >= self._slices and not running:
            self._taken.rest(taken, self._rest)
            self._rest = min(2 * self._rest, _LONGEST_REST)
        else:
            self._rest = _SHORTEST_REST
        return running < self._tasks and under_way < self._slices
