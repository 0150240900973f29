"""safetensors files, hashed while they are written and checked before a byte of them is believed.

The format is safetensors' own (8 bytes of header length, a JSON header, the raw tensors), so any reader takes the
files. Ours exists because a checkpoint needs the sha256 of what it wrote without reading it back, and on reading must
hash the very bytes that it then uses. Tensors that are one tensor under two names (tied weights) are stored once;
the header's metadata says who shares with whom, and `read_tensors` gives the one tensor back under both names.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from camelid.model.load import safetensors_header
from camelid.runs.durable import write_all

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_CHUNK = 1 << 20  # bytes hashed and then written: they are still in the cache for the second
_TIES = "camelid.ties"


class NotATensorFile(Exception):
    """The bytes are no safetensors file, or not one of ours; the message says where they differ."""


class TensorFile:
    """The plan of one file: what is stored where. `size` is known before anything is written."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Raises TypeError for what no safetensors file can hold, ValueError for a reserved name."""
        stored, self._ties = _untie(tensors)
        # Wide types first: then every tensor is aligned to its element size, and reading needs no copy.
        self._order = sorted(stored, key=lambda name: (-stored[name].element_size(), name))
        self._stored = stored
        header: dict[str, Any] = {}
        if self._ties:
            header["__metadata__"] = {_TIES: json.dumps(self._ties, sort_keys=True)}
        offset = 0
        for name in self._order:
            tensor = stored[name]
            end = offset + tensor.numel() * tensor.element_size()
            header[name] = {
                "dtype": _NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        self._head = struct.pack("<Q", len(encoded)) + encoded
        self.size = len(self._head) + offset

    def write(self, descriptor: int) -> str:
        """Write the file and return its sha256 in hex. Raises OSError."""
        digest = hashlib.sha256()
        for chunk in self._chunks():
            digest.update(chunk)
            write_all(descriptor, chunk)
        return digest.hexdigest()

    def _chunks(self) -> Iterator[memoryview]:
        yield memoryview(self._head)
        for name in self._order:
            view = _bytes_of(self._stored[name])
            for start in range(0, len(view), _CHUNK):
                yield view[start : start + _CHUNK]


def read_tensors(path: Path, *, size: int, sha256: str) -> dict[str, torch.Tensor]:
    """The tensors of a file whose every byte is what it was when written; they share one buffer of `size` bytes.

    Raises NotATensorFile if a byte differs, OSError if the disk cannot read.
    """
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise NotATensorFile(f"{path.name} has {found} bytes, not {size}")
        buffer = torch.empty(size, dtype=torch.uint8)
        view = buffer.numpy().data
        _read_hashed(file.fileno(), view, path.name, sha256)
    return _parse(buffer, view, path.name)


def first_difference(path: Path, expected: Mapping[str, torch.Tensor], names: set[str]) -> str | None:
    """Name of the first tensor of a safetensors file that is not among `expected`, byte by byte; None if all are.

    The names of those that are go into `names`. Read in small pieces: a file that is mapped would count as this
    process's memory, a large model as much as itself. Raises NotATensorFile, OSError.
    """
    buffer = bytearray(_CHUNK)
    try:
        data, header = safetensors_header(path)
        places = {name: (entry["dtype"], entry["shape"], *entry["data_offsets"]) for name, entry in header.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise NotATensorFile(f"{path.name}: its header cannot be read ({error})") from error
    with path.open("rb", buffering=0) as file:
        for name, (kind, shape, begin, end) in places.items():
            tensor = expected.get(name)
            if tensor is None or _NAMES.get(tensor.dtype) != kind or list(tensor.shape) != shape:
                return name
            view = _bytes_of(tensor)
            if len(view) != end - begin:
                return name
            file.seek(data + begin)
            for start in range(0, len(view), _CHUNK):
                wanted = view[start : start + _CHUNK]
                part = memoryview(buffer)[: len(wanted)]
                if file.readinto(part) != len(wanted) or part != wanted:
                    return name
            names.add(name)
    return None


def _read_hashed(descriptor: int, view: memoryview, name: str, sha256: str) -> None:
    digest = hashlib.sha256()
    done = 0
    while done < len(view):
        count = os.readv(descriptor, [view[done : done + _CHUNK]])
        if count == 0:
            raise NotATensorFile(f"{name} ends after {done} bytes")
        digest.update(view[done : done + count])
        done += count
    if digest.hexdigest() != sha256:
        raise NotATensorFile(f"{name} differs from its sha256")


def _parse(buffer: torch.Tensor, view: memoryview, name: str) -> dict[str, torch.Tensor]:
    """Tensors over `buffer` (size,) uint8. The header is checked as if hostile: hashes prove equality, not honesty."""
    try:
        (length,) = struct.unpack_from("<Q", view)
        start = 8 + length
        if start > len(view):
            raise NotATensorFile(f"{name}: its header is longer than the file")
        header = json.loads(bytes(view[8:start]))
        metadata = header.pop("__metadata__", {})
        tensors = {key: _tensor(buffer[start:], entry) for key, entry in header.items()}
        for alias, kept in json.loads(metadata.get(_TIES, "{}")).items():
            tensors[alias] = tensors[kept]
        return tensors
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError, struct.error) as error:
        raise NotATensorFile(f"{name}: its header is not one of ours ({error})") from error


def _tensor(data: torch.Tensor, entry: dict[str, Any]) -> torch.Tensor:
    dtype, shape = _DTYPES[entry["dtype"]], [int(length) for length in entry["shape"]]
    begin, end = (int(offset) for offset in entry["data_offsets"])
    if min([begin, *shape]) < 0 or end > len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} does not fit its place")
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    return data[begin:end].view(dtype).reshape(shape)


def _untie(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(name -> tensor to store, name of a tied one -> name under which it is stored)."""
    stored: dict[str, torch.Tensor] = {}
    ties: dict[str, str] = {}
    seen: dict[tuple, str] = {}
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        if name == "__metadata__":
            raise ValueError("a tensor cannot be called __metadata__")
        # A subclass (sharded, quantised) has no plain bytes of its own: whoever saves must make it plain first.
        plain = type(tensor) is torch.Tensor and tensor.layout == torch.strided and tensor.device.type != "meta"
        if not plain or tensor.dtype not in _NAMES:
            kind = f"{type(tensor).__name__}, {tensor.dtype}, {tensor.layout}, {tensor.device}"
            raise TypeError(f"cannot store the tensor '{name}' ({kind})")
        # The same bytes read the same way are the same tensor; overlapping views otherwise are stored each in full.
        identity = (tensor.data_ptr(), tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and identity in seen:
            ties[name] = seen[identity]
            continue
        seen[identity] = name
        stored[name] = tensor
    return stored, ties


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """The raw bytes of a tensor, copied only if it is on a device or not contiguous."""
    flat = tensor.cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
