"""An encoder as a folder of plain files: what is in it, how it is loaded, whether it is the same.

`files.py` writes the folder with its checksums, `config.py` is its `config.json`, `card.py` its
model card (`names.py` has the words), `encoder.py` loads it. `parity.py` holds a stored encoder
against the trained one, `onnx_export.py` writes it for runtimes without torch.
"""
