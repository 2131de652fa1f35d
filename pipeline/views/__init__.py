"""What happens to a sample before a network sees it: drawn by hash, then executed.

`parameters.py` draws a view's crop and colours, `masks.py` (with `blocks.py`) which patches are
hidden, all by seed, epoch and sample. `opencv.py` executes views in read tasks, helped by
`reduction.py` and `kernels.py`; `batched.py`, the only file with torch, finishes them on the
device.
"""
