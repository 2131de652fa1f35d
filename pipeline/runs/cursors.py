"""The cursors of all streams: what a checkpoint knows of the data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipeline import collectives
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.accounting import Account, LedgerEntry
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor


class DataState:
    """The cursors of all streams, as a checkpoint holds them."""

    def __init__(self, streams: int) -> None:
        self.cursors = {str(stream): asdict(Cursor()) for stream in range(streams)}

    def state_dict(self) -> dict[str, Any]:
        """Cursors by stream."""
        return {"cursors": self.cursors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up cursors."""
        self.cursors = state["cursors"]

    def own(self, streams: range) -> dict[int, Cursor]:
        """The cursors of a rank's streams."""
        return {stream: Cursor.from_dict(self.cursors[str(stream)]) for stream in streams}

    def collect(self, assembler: BatchAssembler) -> None:
        """Bring the cursors of all ranks together. Every rank calls this."""
        for state in collectives.gather_json(assembler.state()):
            self.cursors.update(state)

    def account(self, plan: StreamPlan) -> Account:
        """Counts over all streams."""
        total = Account()
        for stream, cursor in self.own(range(plan.streams)).items():
            total += cursor.account(plan.length(stream))
        return total

    def ledger(self) -> list[LedgerEntry]:
        """Quarantined samples of all streams."""
        cursors = self.own(range(len(self.cursors))).values()
        return [entry for cursor in cursors for entry in cursor.ledger]
