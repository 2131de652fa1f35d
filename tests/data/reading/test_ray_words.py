"""What a node's facts say of read tasks that do not come."""

from __future__ import annotations

import multiprocessing

import pytest

from pipeline.data.reading.ray_words import NodeFacts, Submitted, described
from pipeline.data.reading.turns import Turns, new_turns

pytestmark = pytest.mark.fast

QUIET = NodeFacts("10.0.0.2", reading=4, load=0.5, cpus=8, free_cpus=4, store_share=0.2)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (QUIET, "4 read tasks on node 10.0.0.2, the oldest for 30 s (a slow node or store)"),
        (
            QUIET._replace(load=3.9),
            "4 read tasks on node 10.0.0.2, the oldest for 30 s (3.9 processes want each of its "
            "cores)",
        ),
        (
            QUIET._replace(reading=0, free_cpus=0),
            "no read task runs, for 30 s: node 10.0.0.2 has 0 of 8 CPUs free (others hold them)",
        ),
        (
            QUIET._replace(reading=0),
            "no read task runs, for 30 s: node 10.0.0.2 has 4 of 8 CPUs free",
        ),
        (QUIET._replace(reading=None), "5 read tasks on node 10.0.0.2, which does not answer"),
        (
            QUIET._replace(store_share=0.97),
            "4 read tasks on node 10.0.0.2, the oldest for 30 s (a slow node or store); object "
            "store of node 10.0.0.2 is 97% full",
        ),
    ],
)
def test_words_name_the_node_and_what_it_lacks(facts: NodeFacts, words: str) -> None:
    assert described(facts, oldest=30.2, tasks=5) == words


def test_tasks_of_two_data_sets_keep_their_times() -> None:
    submitted = Submitted()
    submitted.note(0, [7, 8])
    first = submitted.ages
    submitted.note(1024, [0])
    submitted.note(0, [8, 9])
    assert len(submitted.ages) == 3
    assert max(submitted.ages) >= max(first)
    submitted.note(0, [])
    submitted.note(1024, [])
    assert submitted.ages == []


def test_a_turn_is_held_by_one_process_and_free_again_when_it_is_killed() -> None:
    turns = new_turns(2)
    others = new_turns(2)
    started = multiprocessing.get_context("spawn")
    ready = started.Event()
    holder = started.Process(target=hold, args=(turns, ready))
    holder.start()
    assert ready.wait(60)
    assert turns.now_taken() == 1
    assert others.now_taken() == 0
    with turns.taken():  # the other one
        pass
    holder.kill()
    holder.join()
    assert turns.now_taken() == 0


def hold(turns: Turns, ready: multiprocessing.synchronize.Event) -> None:
    with turns.taken():
        ready.set()
        multiprocessing.Event().wait()
