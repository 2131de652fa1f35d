"""Where every sample went, and which ones could not be decoded."""

from __future__ import annotations

from pipeline.report.facts import RunFacts
from pipeline.report.sections.section import Section, rendered

_WORDS = {
    "planned": "samples in the epochs that were trained",
    "served": "went into batches",
    "repeated": "of those, served again because a stream ran short",
    "quarantined": "could not be decoded; another sample took the place",
    "dropped": "left over at the end of epochs, too few for a batch",
}


def samples_section(run: RunFacts) -> Section:
    """The account, and the ledger."""
    account = run.result["samples"] if run.result is not None else None
    rows = [(name, account[name], what) for name, what in _WORDS.items()] if account else []
    body = rendered("samples.html", account=rows, ledger=run.ledger)
    return Section(anchor="samples", title="Samples and ledger", body=body)
