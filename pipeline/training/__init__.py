"""A run from its first step to its registered encoder: the only room that starts Ray Train.

`driver.py` is the story of a run, `worker.py` what Ray runs on each worker, `loop.py` the training
loop of a rank, plain torch. The loop is helped by `snapshots.py` and `evaluator.py` (evaluation
beside training), `guards.py` and `stops.py` (what ends a run), `clock.py`; the driver by
`cluster.py`, `outages.py`, `progress.py` and `probing.py`. `demand.py` is what a run asks of a
cluster, `device_choice.py` whether it asks for GPUs; `waiting_for_room.py` waits for them before
Ray Train starts, `patience.py` while it runs; `data_waits.py` says what a rank waits for;
`evaluation_task.py` is where evaluation runs. `preemption.py` hears of nodes that will go.
`replay.py` verifies an encoder: `claim.py` is what is to be verified, `replay_plan.py` whether it
can be, `scratch.py` where the replay leaves what is thrown away.

May import: everything below `jobs/`.
"""
