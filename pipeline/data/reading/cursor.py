"""Where a stream stands: what a checkpoint holds of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.data.reading.accounting import Account, LedgerEntry


@dataclass(kw_only=True)
class Cursor:
    """Where a stream stands and what became of its samples: all that a checkpoint needs of it."""

    position: int = 0  # in the epoch's order: the next row to take
    served: int = 0  # in this epoch
    repeated: int = 0  # in this epoch
    quarantined: list[int] = field(default_factory=list)  # sample ids, in this epoch
    finished: Account = field(default_factory=Account)  # over the epochs before
    ledger: list[LedgerEntry] = field(default_factory=list)

    def account(self, length: int) -> Account:
        """Counts so far, the epoch under way closed where it stands.

        Args:
            length: samples of the stream.
        """
        if not self.position:
            return self.finished
        return self.finished + Account(
            planned=length,
            served=self.served,
            repeated=self.repeated,
            quarantined=len(self.quarantined),
            dropped=max(0, length - self.position),
        )

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Cursor:
        """The inverse of `dataclasses.asdict`."""
        finished = Account(**state["finished"])
        ledger = [LedgerEntry(**entry) for entry in state["ledger"]]
        quarantined = list(state["quarantined"])
        return cls(**{**state, "finished": finished, "ledger": ledger, "quarantined": quarantined})
