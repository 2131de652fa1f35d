"""Bad samples are set aside, replaced by the rule, counted and listed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.order.shuffle import StreamOrder
from pipeline.data.order.slices import slices
from pipeline.data.order.streams import StreamPlan
from pipeline.data.reading.accounting import LEDGER_SCHEMA, Account, LedgerEntry, write_ledger
from pipeline.data.reading.assemble import BatchAssembler
from pipeline.data.reading.cursor import Cursor
from pipeline.data.reading.ingest import inline
from pipeline.data.reading.slice_reader import SliceReader
from pipeline.data.sources.index import load_index
from pipeline.data.sources.manifest import load_manifest, locate
from pipeline.errors import UserError
from pipeline.views.parameters import ImageViews

pytestmark = pytest.mark.fast

SAMPLES, BATCH = 90, 20
FEW_BAD = (0, 3, 22, 23, 24, 41, 60, 77, 89)
Spoil = Callable[[Path, Path, Collection[int]], Path]


@pytest.fixture(scope="module")
def spoilt(
    noise_shards: Path, spoil: Spoil, tmp_path_factory: pytest.TempPathFactory
) -> SliceReader:
    return reader_of(spoil(noise_shards / "tar", tmp_path_factory.mktemp("spoilt"), FEW_BAD))


def reader_of(folder: Path, streams: int = 4, global_batch: int = BATCH) -> SliceReader:
    plan = StreamPlan(
        seed=3, samples=SAMPLES, streams=streams, global_batch=global_batch, shuffle_window=16
    )
    views = ImageViews(size=4, count=1, jitter=0.0)
    return SliceReader(manifests=(str(folder),), plan=plan, views=views)


@dataclass
class Served:
    """Sample ids of every batch, and the account and the ledger behind them."""

    ids: list[list[int]] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)

    @property
    def account(self) -> Account:
        return self.accounts[-1]


def run(reader: SliceReader, total: int, *, k: int = 2) -> Served:
    cursors = {stream: Cursor() for stream in range(reader.plan.streams)}
    assembler = BatchAssembler(reader, cursors=cursors, step=0, total_steps=total)
    pieces = slices(
        reader.plan,
        positions=dict.fromkeys(cursors, 0),
        step=0,
        total_steps=total,
        per_stream=k * reader.plan.per_batch,
    )
    served = Served()
    for batch in assembler.batches(inline(reader, pieces, cpus=1)):
        served.ids.append(batch.sample_id.tolist())
        served.accounts.append(assembler.account())
    served.ledger = [entry for cursor in cursors.values() for entry in cursor.ledger]
    return served


def by_the_rules(reader: SliceReader, bad: Collection[int], total: int) -> Served:
    """The batches and the final account, by the plainest code that follows the rules."""
    plan, boundaries = reader.plan, load_manifest(reader.manifests[0]).boundaries()
    ids: list[list[int]] = []
    account = Account()
    for first in range(0, total, plan.steps_per_epoch):
        epoch = first // plan.steps_per_epoch
        batches: list[list[int]] = [[] for _ in range(min(plan.steps_per_epoch, total - first))]
        for stream in range(plan.streams):
            order = StreamOrder(plan, boundaries, epoch=epoch, stream=stream)
            position, counts = 0, Account(planned=len(order))
            for batch in batches:
                wanted = len(batch) + plan.per_batch
                while len(batch) < wanted:
                    sample = int(order.ids(position, position + 1)[0])
                    first_lap = position < len(order)
                    position += 1
                    if sample in bad:
                        counts.quarantined += first_lap
                    else:
                        batch.append(sample)
                        counts.served += 1
                        counts.repeated += not first_lap
            counts.dropped = max(0, len(order) - position)
            account += counts
        ids += batches
    return Served(ids=ids, accounts=[account])


def balances(account: Account) -> bool:
    return account.planned == (
        account.served - account.repeated + account.quarantined + account.dropped
    )


@settings(max_examples=20, deadline=None)
@given(
    bad=st.sets(st.integers(0, SAMPLES - 1), max_size=25),
    total=st.integers(1, 6),
    k=st.integers(1, 5),
    streams=st.sampled_from([1, 2, 4]),
)
def test_batches_and_accounts_are_those_that_the_rules_ask_for(
    noise_shards: Path, spoil: Spoil, bad: set[int], total: int, k: int, streams: int
) -> None:
    plan = reader_of(noise_shards / "tar", streams).plan
    good = [set(range(*plan.bounds(stream))) - bad for stream in range(streams)]
    assume(min(len(ids) for ids in good) >= 2 * plan.per_batch)
    with tempfile.TemporaryDirectory() as folder:
        reader = reader_of(spoil(noise_shards / "tar", Path(folder), bad), streams)
        found = run(reader, total, k=k)
        wanted = by_the_rules(reader, bad, total)
    assert found.ids == wanted.ids
    assert found.account == wanted.account
    assert all(balances(account) for account in found.accounts)
    assert not bad & {i for batch in found.ids for i in batch}
    listed = [entry.sample_id for entry in found.ledger]
    assert len(set(listed)) == len(listed)
    assert set(listed) <= bad


def test_the_account_balances_after_every_batch_over_several_epochs(spoilt: SliceReader) -> None:
    found = run(spoilt, 11)
    for step, account in enumerate(found.accounts, start=1):
        assert balances(account)
        assert account.planned == SAMPLES * -(-step // 4)
        assert account.served == BATCH * step
        if step % 4 == 0:
            assert account == by_the_rules(spoilt, FEW_BAD, step).account
    assert found.account == by_the_rules(spoilt, FEW_BAD, 11).account


def test_a_run_that_ends_within_an_epoch_counts_what_it_left_as_dropped(
    spoilt: SliceReader,
) -> None:
    account = run(spoilt, 6).account
    assert account.planned == 2 * SAMPLES
    assert account.dropped >= 40
    assert account == by_the_rules(spoilt, FEW_BAD, 6).account


def test_clean_shards_have_no_ledger_and_drop_only_the_tail(noise_shards: Path) -> None:
    found = run(reader_of(noise_shards / "tar"), 8)
    assert found.ledger == []
    assert found.account == Account(planned=2 * SAMPLES, served=160, dropped=20)


def test_the_ledger_names_shard_key_offset_error_and_first_epoch(
    spoilt: SliceReader, tmp_path: Path
) -> None:
    ledger = run(spoilt, 12).ledger
    assert {entry.sample_id for entry in ledger} == set(FEW_BAD)
    root = Path(spoilt.manifests[0])
    manifest = load_manifest(root)
    for entry in ledger:
        shard, row = (int(v) for v in locate(manifest.boundaries(), np.array(entry.sample_id)))
        assert entry.shard == manifest.shards[shard].path
        assert entry.key == load_index(str(root / manifest.shards[shard].index_path)).key(row)
        assert (root / entry.shard).read_bytes()[entry.offset :].startswith(b"spoilt")
        assert entry.error == "not an image"
        assert entry.epoch in (0, 1, 2)
    assert min(entry.epoch for entry in ledger) == 0
    write_ledger(str(tmp_path / "ledger.parquet"), reversed(ledger))
    table = pq.read_table(tmp_path / "ledger.parquet")
    assert table.schema == LEDGER_SCHEMA
    assert table["sample_id"].to_pylist() == sorted(FEW_BAD)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.parquet"]


def test_a_stream_that_runs_short_wraps_into_its_next_order_and_this_is_counted(
    noise_shards: Path, spoil: Spoil, tmp_path: Path
) -> None:
    bad = range(5)
    reader = reader_of(spoil(noise_shards / "tar", tmp_path, bad))
    assert reader.plan.bounds(0) == (0, 22)
    for k in (1, 3):
        found = run(reader, 4, k=k)
        assert found.ids == by_the_rules(reader, bad, 4).ids
        assert found.account == Account(planned=90, served=80, repeated=3, quarantined=5, dropped=8)


@pytest.mark.parametrize("bad", [range(22, 45), range(20, 50), range(SAMPLES)])
def test_a_stream_that_is_wholly_bad_is_refused(
    noise_shards: Path, spoil: Spoil, tmp_path: Path, bad: range
) -> None:
    reader = reader_of(spoil(noise_shards / "tar", tmp_path, bad))
    with pytest.raises(UserError, match=r"data\.shards.*stream.*not an image"):
        run(reader, 4)


def test_truncated_bytes_in_a_parquet_shard_are_quarantined_as_well(
    noise_shards: Path, tmp_path: Path
) -> None:
    for path in (noise_shards / "parquet").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "shard-000001.parquet"
    table = pq.read_table(shard)
    images = [
        data[:50] if row == 7 else data for row, data in enumerate(table["image"].to_pylist())
    ]
    pq.write_table(table.set_column(1, "image", [images]), shard, row_group_size=64)
    found = run(reader_of(tmp_path), 12)
    assert [entry.sample_id for entry in found.ledger] == [32]
    assert found.ledger[0].error.startswith("damaged image")
    assert found.ids == by_the_rules(reader_of(tmp_path), {32}, 12).ids
