"""A GGUF file (version 2 or 3), read under the assumption that it lies.

The header, the metadata and the table of tensors are parsed here, over a memory map, and every count, length and
offset is checked against the bytes that are really there before anything is allocated or followed (GGUF readers
that trust sizes were the cause of Ollama CVE-2026-7482 and llama.cpp CVE-2025-53630). Any defect is a `UserError`.
The values inside the blocks are unpacked by the `gguf` package, which llama.cpp's authors keep.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from camelid.errors import UserError

if TYPE_CHECKING:
    from typing import Self

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_KEY_BYTES = 65_535
INSTALL_AGAIN = "the file is cut or damaged: download or install it again"

# ggml type id -> (name, values per block, bytes per block); the deprecated repacked types (Q4_0_4_4 ...) are absent.
BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 28: ("F64", 1, 8),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}  # fmt: skip

# Metadata value type id -> (struct code, NumPy type); 8 is a string, 9 an array.
_SCALARS: dict[int, tuple[str, str]] = {
    0: ("B", "<u1"), 1: ("b", "<i1"), 2: ("H", "<u2"), 3: ("h", "<i2"), 4: ("I", "<u4"), 5: ("i", "<i4"),
    6: ("f", "<f4"), 7: ("B", "<u1"), 10: ("Q", "<u8"), 11: ("q", "<i8"), 12: ("d", "<f8"),
}  # fmt: skip
_BOOL, _STRING, _ARRAY = 7, 8, 9

Value = bool | int | float | str | list[str] | np.ndarray

# Values unpacked at a time: the temporaries of one piece stay in the cache of a core.
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of the table. `shape` is in NumPy's order (rows first); `start` counts from the file's beginning."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    nbytes: int

    @property
    def kind_name(self) -> str:
        """The ggml name of the storage type, such as `Q4_1`."""
        return BLOCKS[self.kind][0]

    @property
    def size(self) -> int:
        """How many values the tensor holds."""
        return math.prod(self.shape)


class GGUFFile:
    """An open, fully checked GGUF file: `metadata` by key, `tensors` by name; use it in a `with` statement."""

    def __init__(self, path: str | Path) -> None:
        """Raises `UserError` for a file that is missing, not GGUF, cut short or inconsistent."""
        self.path = Path(path)
        self.metadata: dict[str, Value] = {}
        self.tensors: dict[str, TensorInfo] = {}
        try:
            with self.path.open("rb") as file:
                self.size = file.seek(0, 2)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else None
        except OSError as error:
            raise UserError(f"cannot read the GGUF file: {error.strerror}", where=str(self.path)) from None
        try:
            self._parse()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the memory map; it goes at once, or with the last view that `raw` has handed out."""
        if self._map is not None:
            with contextlib.suppress(BufferError):  # a view still lives, for example in an error's traceback
                self._map.close()
            self._map = None

    # -- reading the header ------------------------------------------------------------------------------------

    def _fault(self, what: str, mend: str = INSTALL_AGAIN) -> NoReturn:
        # Names come from the file: no escape sequence of theirs may reach a terminal.
        shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in what)
        raise UserError(f"not a sound GGUF file: {shown}", where=str(self.path), mend=mend)

    def _need(self, start: int, count: int, what: str) -> None:
        """Every read is preceded by this: `count` bytes from `start` on must exist."""
        if count > self.size - start:
            self._fault(f"{what} ends at byte {start + count:,} but the file has {self.size:,} bytes")

    def _unpack(self, form: str, at: int, what: str) -> tuple:
        self._need(at, struct.calcsize(form), what)
        assert self._map is not None
        return struct.unpack_from(form, self._map, at)

    def _parse(self) -> None:
        if self.size < 4 or self._map is None or self._map[:4] != MAGIC:
            self._fault("it does not begin with the letters GGUF", mend="give a .gguf file")
        (version,) = self._unpack("<I", 4, "the version")
        if version not in (2, 3):
            turned = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
            self._fault(
                "it is big-endian" if turned else f"its version is {version}, known are 2 and 3",
                mend="convert the model again with a current llama.cpp on a little-endian machine",
            )
        tensor_count, pair_count = self._unpack("<QQ", 8, "the header")
        # The least that a pair (8 + 1 + 4 + 1) and a tensor entry (8 + 1 + 4 + 8 + 4 + 8) take: a count that cannot
        # be true is found here and not after a million entries.
        self._need(
            24, pair_count * 14 + tensor_count * 33, f"a header of {pair_count:,} keys, {tensor_count:,} tensors"
        )
        at = 24
        for _ in range(pair_count):
            at = self._read_pair(at)
        self._read_table(at, tensor_count)

    def _read_string(self, at: int, what: str, limit: int | None = None) -> tuple[str, int]:
        (length,) = self._unpack("<Q", at, what)
        self._need(at + 8, length, what)
        if limit is not None and not 0 < length <= limit:
            self._fault(f"{what} has {length:,} bytes")
        assert self._map is not None
        try:
            return self._map[at + 8 : at + 8 + length].decode("utf-8"), at + 8 + length
        except UnicodeDecodeError:
            self._fault(f"{what} at byte {at:,} is not UTF-8")

    def _read_pair(self, at: int) -> int:
        key, at = self._read_string(at, "a metadata key", MAX_KEY_BYTES)
        if key in self.metadata:
            self._fault(f"the key {key!r} occurs twice")
        (kind,) = self._unpack("<I", at, f"the type of {key}")
        at += 4
        if kind == _STRING:
            value, at = self._read_string(at, key)
        elif kind == _ARRAY:
            value, at = self._read_array(at, key)
        elif kind in _SCALARS:
            code = _SCALARS[kind][0]
            (value,) = self._unpack("<" + code, at, key)
            at += struct.calcsize("<" + code)
            if kind == _BOOL:
                value = bool(value)
        else:
            self._fault(f"{key} has the unknown type {kind}")
        self.metadata[key] = value
        return at

    def _read_array(self, at: int, key: str) -> tuple[list[str] | np.ndarray, int]:
        kind, count = self._unpack("<IQ", at, key)
        at += 12
        if kind in _SCALARS:
            dtype = np.dtype(_SCALARS[kind][1])
            self._need(at, count * dtype.itemsize, key)
            assert self._map is not None
            values = np.frombuffer(self._map, dtype, count, at).copy() if count else np.empty(0, dtype)
            return (values.astype(bool) if kind == _BOOL else values), at + count * dtype.itemsize
        if kind != _STRING:
            self._fault(f"{key} is an array of the type {kind}")
        self._need(at, count * 8, key)
        return self._read_strings(at, count, key)

    def _read_strings(self, at: int, count: int, key: str) -> tuple[list[str], int]:
        # Vocabularies hold a quarter of a million entries: the loop is kept bare, its checks included.
        strings: list[str] = []
        append, unpack, data, size = strings.append, struct.Struct("<Q").unpack_from, self._map, self.size
        assert data is not None
        try:
            for _ in range(count):
                begin = at + 8
                if begin > size:
                    self._need(at, 8, key)
                at = begin + unpack(data, at)[0]
                if at > size:
                    self._need(begin, at - begin, key)
                append(data[begin:at].decode("utf-8"))
        except UnicodeDecodeError:
            self._fault(f"entry {len(strings):,} of {key} is not UTF-8")
        return strings, at

    def _read_table(self, at: int, count: int) -> None:
        entries: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(count):
            name, at = self._read_string(at, "a tensor's name", MAX_KEY_BYTES)
            (dimensions,) = self._unpack("<I", at, f"the shape of {name}")
            if not 1 <= dimensions <= MAX_DIMENSIONS:
                self._fault(f"the tensor {name} has {dimensions} dimensions")
            *shape, kind, offset = self._unpack(f"<{dimensions}QIQ", at + 4, f"the shape of {name}")
            at += 4 + 8 * dimensions + 12
            entries.append((name, tuple(reversed(shape)), kind, offset))
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or alignment <= 0 or alignment % 8 or alignment > 1 << 20:
            self._fault(f"general.alignment is {alignment!r}")
        data_start = -(-at // alignment) * alignment
        for name, shape, kind, offset in entries:
            if name in self.tensors:
                self._fault(f"the tensor {name} occurs twice")
            if offset % alignment:
                self._fault(f"the tensor {name} begins at {offset:,}, which is no multiple of {alignment}")
            self.tensors[name] = TensorInfo(name, shape, kind, data_start + offset, self._bytes_of(name, shape, kind))
        self._check_extents()

    def _bytes_of(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        if kind not in BLOCKS:
            self._fault(f"the tensor {name} has the unknown storage type {kind}", mend="use another quantisation")
        _, values, block_bytes = BLOCKS[kind]
        if min(shape) < 1 or shape[-1] % values:
            self._fault(f"the tensor {name} of type {BLOCKS[kind][0]} has the shape {shape}")
        return math.prod(shape) // values * block_bytes

    def _check_extents(self) -> None:
        """Tensors lie inside the file and apart: a small file cannot make us write an endless one."""
        end = 0
        for tensor in sorted(self.tensors.values(), key=lambda t: t.start):
            if tensor.start < end:
                self._fault(f"the tensor {tensor.name} overlaps the one before it")
            end = tensor.start + tensor.nbytes
        if end > self.size:
            raise UserError(
                f"the GGUF file is cut: expected at least {end:,} bytes, found {self.size:,}",
                where=str(self.path),
                mend="download or install it again",
            )

    # -- reading the values ------------------------------------------------------------------------------------

    def raw(self, name: str) -> np.ndarray:
        """The stored bytes of a tensor, as a read-only uint8 view of the map."""
        tensor = self.tensors[name]
        assert self._map is not None
        return np.frombuffer(self._map, np.uint8, tensor.nbytes, tensor.start)

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """The float32 values of a tensor, flat, a piece at a time. Raises `UserError` for values not finite."""
        tensor = self.tensors[name]
        _, values, block_bytes = BLOCKS[tensor.kind]
        step = _PIECE // values * values
        data = self.raw(name)
        for begin in range(0, tensor.size, step):
            count = min(step, tensor.size - begin)
            piece = _unpacked(data[begin // values * block_bytes : (begin + count) // values * block_bytes], tensor)
            if not np.isfinite(piece).all():
                self._fault(f"the tensor {name} holds values that are not finite")
            yield piece

    def values(self, name: str) -> np.ndarray:
        """All values of a tensor: float32, in its shape."""
        return np.concatenate(list(self.pieces(name))).reshape(self.tensors[name].shape)


def _unpacked(data: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """Stored bytes -> float32 values, flat."""
    from gguf import quants  # here, so that reading a header costs no import
    from gguf.constants import GGMLQuantizationType

    kind = tensor.kind_name
    if kind == "F32":
        return data.view("<f4")
    if kind == "F16":
        return data.view("<f2").astype(np.float32)
    if kind == "BF16":
        return (data.view("<u2").astype("<u4") << 16).view("<f4")
    if kind in ("F64", "I8", "I16", "I32", "I64"):
        raise UserError(f"the tensor {tensor.name} is stored as {kind}", mend="only weights can be read")
    # Blocks stand alone, so one piece is handed over as one long row: the library's own grouping by 16 rows costs
    # more than the work when rows are short.
    with np.errstate(all="ignore"):  # damaged scales overflow; the caller looks at the values
        return quants.dequantize(data.reshape(1, -1), GGMLQuantizationType(tensor.kind)).reshape(-1)
