"""Which nodes' CPUs read for which rank, where readers may be anywhere: a pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.data.order.slices import Slice

_HUNDREDTHS = 100  # of a CPU; whole numbers, so that every rank divides alike


class NodeShare(NamedTuple):
    """What a node reads for a rank."""

    node: str | None
    """Ray's id of it; None: whichever has CPUs to spare when a task is started."""
    cpus: float
    streams: tuple[int, ...]


def reading_nodes(
    nodes: Mapping[str, float], homes: Sequence[str], *, cpus: float, streams: int
) -> list[list[tuple[str, float]]]:
    """The CPUs that read for each rank: of its own node first, then of nodes without a trainer.

    Never more than a node can spare; fewer than asked for where the cluster is short of them. As
    few nodes as will do, since two that serve one rank may both fetch what its shards share.

    Args:
        nodes: CPUs of each living node, by Ray's id of it.
        homes: the node of each rank, which has a CPU of it.
        cpus: that are to read for each rank.
        streams: of a rank; no more nodes can serve it.

    Returns:
        For each rank nodes and their CPUs, the most CPUs first; nothing where none is left.
    """
    wanted = round(cpus * _HUNDREDTHS)
    trainers = Counter(homes)
    spare = {
        node: max(0, int(has * _HUNDREDTHS) - trainers[node] * _HUNDREDTHS)
        for node, has in nodes.items()
    }
    given: list[dict[str, int]] = [{} for _ in homes]

    def give(rank: int, node: str, at_most: int) -> None:
        share = min(at_most, spare.get(node, 0))
        if share:
            spare[node] -= share
            given[rank][node] = given[rank].get(node, 0) + share

    for rank, home in enumerate(homes):
        # Ranks of a node share what it can spare: the first would leave the others nothing.
        later = homes[rank:].count(home)
        give(rank, home, min(wanted, spare.get(home, 0) // later))
    others = sorted(set(nodes) - set(homes)) + sorted(set(homes) & set(nodes))
    for rank in range(len(homes)):
        while (missing := wanted - sum(given[rank].values())) and len(given[rank]) < streams:
            able = [node for node in others if spare[node] and node not in given[rank]]
            if not able:
                break
            # One that has enough, though no more than it must; else the one with most.
            best = min(able, key=lambda name: (name in trainers, *_fit(spare[name], missing), name))
            give(rank, best, missing)
    return [
        [
            (node, share / _HUNDREDTHS)
            for node, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
        ]
        for shares in given
    ]


def _fit(spare: int, missing: int) -> tuple[bool, int]:
    return spare < missing, spare if spare >= missing else -spare


def divided(streams: Iterable[int], nodes: Sequence[tuple[str, float]]) -> list[NodeShare]:
    """A rank's streams among its nodes, in proportion to their CPUs, at least one each.

    Args:
        streams: of the rank, consecutive ones to a node, since they lie in the same shards.
        nodes: with CPUs, no more than there are streams; perhaps none.
    """
    if not nodes:
        return []
    names = list(streams)
    counts = [1] * len(nodes)
    for _ in range(len(names) - len(nodes)):
        # To whom most CPUs would still be left for each stream.
        counts[max(range(len(nodes)), key=lambda n: nodes[n][1] / (counts[n] + 1))] += 1
    shares = []
    for (node, cpus), count in zip(nodes, counts, strict=True):
        shares.append(NodeShare(node, cpus, tuple(names[:count])))
        del names[:count]
    return shares


def joined(pieces: Iterable[Slice], count: int) -> Iterator[Slice]:
    """Slices that are so many in one, or fewer at the end of an epoch.

    A node reads but some of a slice's streams, and a small task costs Ray as much as a large one.
    """
    together: list[Slice] = []
    for piece in pieces:
        if together and (len(together) == count or piece.epoch != together[0].epoch):
            yield _one(together)
            together = []
        together.append(piece)
    if together:
        yield _one(together)


def _one(pieces: Sequence[Slice]) -> Slice:
    ends = [stop for _, _, stop in pieces[-1].ranges]
    ranges = zip(pieces[0].ranges, ends, strict=True)
    return Slice(
        epoch=pieces[0].epoch,
        ranges=tuple((stream, start, stop) for (stream, start, _), stop in ranges),
    )


def parts(pieces: Iterable[Slice], share: NodeShare) -> Iterator[Slice]:
    """What a node reads of slices."""
    mine = set(share.streams)
    for piece in pieces:
        yield Slice(
            epoch=piece.epoch, ranges=tuple(span for span in piece.ranges if span[0] in mine)
        )
