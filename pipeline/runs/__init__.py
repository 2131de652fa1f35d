"""What lies in a run's folder, and what it means.

`folder.py` names the files, `identity.py` says what makes a run the run it is and what may differ
when it is taken up. `checkpoint.py` decides whether a checkpoint counts; its parts are written by
`state_files.py` (tensors) and `stream_files.py` (what is known of samples), when
`checkpoint_schedule.py` says so. `cursors.py` is where the streams stand, `trace.py` what was
served, `summary.py` the figures of a finished run, `product.py` its encoder as a package.
`stretches.py` and `environment.py` say how and with what it was computed, `start.py` and
`weights_difference.py` serve its replay.

May import: learning and all rooms below it; no Ray, no MLflow.
"""
