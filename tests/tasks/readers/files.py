"""Small files such as users have, and where the real ones are."""

import gzip
import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def real(name: str) -> str:
    """The path of a real data set; the test skips where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real data {name} is not at {path}")
    return str(path)


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random uint8 images."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    """An image of ``(H, W)`` or ``(H, W, 3)`` as a file's bytes."""
    file = io.BytesIO()
    made = Image.fromarray(image)
    (made.convert(mode) if mode else made).save(file, kind)
    return file.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    """Write a file and the folders above it; ``.gz`` is compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def cut_short(path: Path, share: float = 0.5) -> None:
    """Lose the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def lines(*rows: Mapping[str, Any]) -> str:
    """JSON, one object a line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_parquet(path: Path, columns: Mapping[str, Any], names: Mapping[str, Sequence[str]] = {}):
    """A Parquet file, the names of labels noted as the hub does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(arrow(columns, names), path)
    return path


def arrow(columns: Mapping[str, Any], names: Mapping[str, Sequence[str]] = {}) -> pa.Table:
    table = pa.table(dict(columns))
    if not names:
        return table
    features = {c: {"names": list(of), "_type": "ClassLabel"} for c, of in names.items()}
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    """An array of bytes as an IDX file."""
    head = struct.pack(">I", 0x800 + array.ndim if magic is None else magic)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(
    folder: Path, name: str, images: np.ndarray, labels: np.ndarray, end: str = ""
) -> None:
    write(folder / f"{name}images-idx3-ubyte{end}", idx(images))
    write(folder / f"{name}labels-idx1-ubyte{end}", idx(labels))
