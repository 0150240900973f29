"""The GGUF reader: what is there is read exactly; nothing in a file can crash it or make it allocate without end."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from gguf.constants import GGML_QUANT_SIZES
from gguf_writing import bpe_metadata, minimal_gguf, random_model, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.errors import UserError
from camelid.model.gguf import _PIECE, BLOCKS, GGUFFile
from camelid.model.gguf_convert import write_directory

PAIRS = {
    "a.flag": True,
    "a.count": 7,
    "a.real": 0.5,
    "a.text": "你好 🎉",
    "a.ints": [1, -2, 3],
    "a.reals": [0.5, 1.5],
    "a.texts": ["", "甲", "b c"],
    "a.flags": [True, False],
}


def test_metadata_and_tensors_are_read_exactly(tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = minimal_gguf(tmp_path / "m.gguf", PAIRS, a__weight=weight, b__weight=weight.astype(np.float16)[:1])
    with GGUFFile(path) as file:
        for key, value in PAIRS.items():
            found = file.metadata[key]
            assert (found.tolist() if isinstance(found, np.ndarray) else found) == value, key
            assert type(found) is type(value) or isinstance(value, list), key
        np.testing.assert_array_equal(file.values("a.weight"), weight)
        np.testing.assert_array_equal(file.values("b.weight"), weight[:1])
        assert file.tensors["a.weight"].shape == (3, 4)
        assert file.tensors["b.weight"].kind_name == "F16"


def test_the_table_of_blocks_is_the_librarys() -> None:
    for kind, (name, values, nbytes) in BLOCKS.items():
        assert GGMLQuantizationType(kind).name == name
        assert GGML_QUANT_SIZES[GGMLQuantizationType(kind)] == (values, nbytes)


QUANTISED = [kind for kind, (name, values, _) in BLOCKS.items() if values > 1 or name in ("F32", "F16", "BF16")]


@pytest.mark.parametrize("kind", QUANTISED, ids=[BLOCKS[kind][0] for kind in QUANTISED])
def test_values_equal_the_librarys_whole_dequantisation(tmp_path: Path, kind: int) -> None:
    """In pieces, over random blocks; more values than one piece, and not a multiple of it."""
    from gguf import GGUFWriter

    _, values, block = BLOCKS[kind]
    rng = np.random.default_rng(kind)
    rows, row_blocks = 3, (_PIECE // values * 2) // 3 // 7 * 7 + 1
    data = rng.integers(0, 256, (rows, row_blocks * block), dtype=np.uint8)
    expected = _finite(data, kind, block)
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("w", data, raw_dtype=GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GGUFFile(tmp_path / "m.gguf") as file:
        pieces = [piece.copy() for piece in file.pieces("w")]
        assert len(pieces) > 1
        np.testing.assert_array_equal(np.concatenate(pieces).reshape(rows, -1), expected)
        np.testing.assert_array_equal(file.values("w"), expected)


def _finite(data: np.ndarray, kind: int, block: int) -> np.ndarray:
    """The library's values; blocks of `data` whose scale is not finite are zeroed first, in place."""
    with np.errstate(all="ignore"):
        values = quants.dequantize(data, GGMLQuantizationType(kind))
        per_block = values.reshape(-1, BLOCKS[kind][1])
        data.reshape(-1, block)[~np.isfinite(per_block).all(axis=1)] = 0
        return quants.dequantize(data, GGMLQuantizationType(kind))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = minimal_gguf(tmp_path / "m.gguf", w=np.array([[1.0, np.nan]], np.float32))
    with GGUFFile(path) as file, pytest.raises(UserError, match="the tensor w holds values that are not finite"):
        file.values("w")


# -- files that lie -------------------------------------------------------------------------------------------------


def header(tensors: int = 0, pairs: int = 0, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, pairs)


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0, dimensions: int | None = None) -> bytes:
    count = len(shape) if dimensions is None else dimensions
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", count, *shape, kind, offset)


HUGE = 2**63
LIES = {
    "an empty file": (b"", "GGUF"),
    "another format": (b"PK\x03\x04" + bytes(100), "does not begin with the letters GGUF"),
    "a header that stops": (b"GGUF\x03\x00", "ends at byte"),
    "version 1": (header(version=1), "its version is 1"),
    "big-endian": (header(version=0x03000000), "big-endian"),
    "pairs without end": (header(pairs=HUGE), "9,223,372,036,854,775,808 keys"),
    "tensors without end": (header(tensors=2**64 - 1), "tensors ends at byte"),
    "a key without end": (header(pairs=1) + text(b"k", HUGE) + bytes(30), "ends at byte"),
    "an empty key": (header(pairs=1) + text(b"") + bytes(30), "a metadata key has 0 bytes"),
    "a key not UTF-8": (header(pairs=1) + pair(b"\xff\xfe", 0, b"\1") + bytes(30), "not UTF-8"),
    "a key twice": (header(pairs=2) + pair(b"k", 0, b"\1") * 2 + bytes(30), "occurs twice"),
    "an unknown type": (header(pairs=1) + pair(b"k", 13, b"\1") + bytes(30), "unknown type 13"),
    "a text without end": (header(pairs=1) + pair(b"k", 8, text(b"", HUGE)) + bytes(30), "k ends at byte"),
    "an array without end": (
        header(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 12, HUGE)) + bytes(30),
        "k ends at byte",
    ),
    "an array of texts without end": (
        header(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 8, HUGE)) + bytes(30),
        "k ends at byte",
    ),
    "an array whose second text has no end": (
        header(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b"", HUGE)),
        "k ends at byte",
    ),
    "an array of arrays": (
        header(pairs=1) + pair(b"k", 9, struct.pack("<IQ", 9, 1)) + bytes(30),
        "array of the type 9",
    ),
    "an alignment of zero": (
        header(pairs=1) + pair(b"general.alignment", 4, bytes(4)) + bytes(30),
        "general.alignment is 0",
    ),
    "an alignment that is a text": (
        header(pairs=1) + pair(b"general.alignment", 8, text(b"32")) + bytes(30),
        "general.alignment is '32'",
    ),
    "a tensor without dimensions": (header(1) + tensor(b"w", (), dimensions=0) + bytes(64), "has 0 dimensions"),
    "a tensor of five dimensions": (header(1) + tensor(b"w", (1,) * 5) + bytes(64), "has 5 dimensions"),
    "a dimension of zero": (header(1) + tensor(b"w", (4, 0)) + bytes(64), "has the shape (0, 4)"),
    "dimensions that overflow": (header(1) + tensor(b"w", (HUGE, HUGE)) + bytes(64), "is cut: expected at least"),
    "an unknown storage type": (header(1) + tensor(b"w", (4,), 99) + bytes(64), "unknown storage type 99"),
    "a row that is no whole block": (header(1) + tensor(b"w", (33,), 8) + bytes(99), "type Q8_0 has the shape (33,)"),
    "an offset not aligned": (header(1) + tensor(b"w", (4,), 0, 4) + bytes(64), "no multiple of 32"),
    "an offset behind the end": (header(1) + tensor(b"w", (4,), 0, 2**40) + bytes(64), "is cut: expected at least"),
    "an offset that wraps": (header(1) + tensor(b"w", (4,), 0, 2**64 - 32) + bytes(64), "is cut: expected at least"),
    "a tensor twice": (header(2) + tensor(b"w", (4,)) * 2 + bytes(99), "the tensor w occurs twice"),
    "tensors that overlap": (header(2) + tensor(b"v", (16,)) + tensor(b"w", (16,)) + bytes(199), "overlaps"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_one_line_and_cost_no_memory(tmp_path: Path, name: str) -> None:
    data, message = LIES[name]
    path = tmp_path / "lie.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            GGUFFile(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert message in str(caught.value)
    assert "lie.gguf" in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the GGUF file: No such file"):
        GGUFFile(tmp_path / "none.gguf")


def test_a_cut_file_names_both_sizes_and_the_remedy(tmp_path: Path) -> None:
    path = minimal_gguf(tmp_path / "m.gguf", w=np.ones((64, 64), np.float32))
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    end = GGUFFile(minimal_gguf(tmp_path / "n.gguf", w=np.ones((64, 64), np.float32))).tensors["w"]
    with pytest.raises(UserError) as caught:
        GGUFFile(path)
    assert f"expected at least {end.start + end.nbytes:,} bytes, found {len(data) - 100:,}" in str(caught.value)
    assert str(caught.value).endswith("download or install it again")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = minimal_gguf(tmp_path / "m.gguf", PAIRS, w=np.ones((2, 8), np.float32)).read_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(UserError):
            GGUFFile(path)


# -- fuzzing: the whole way from bytes to a directory ---------------------------------------------------------------

EXTREMES = [0, 1, 2, 31, 32, 33, 127, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "sound.gguf"
    tokenizer = bpe_metadata()
    return write_gguf(path, "llama-tied", random_model("llama-tied"), kind="Q8_0", tokenizer=tokenizer).read_bytes()


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, float, int]]:
    kinds = st.sampled_from(["flip", "u64", "u32", "cut", "copy", "drop"])
    # The first part of the file is the header, where damage has most to say: half of all places lie there.
    place = st.one_of(st.floats(0, 1), st.floats(0, 0.02))
    return draw(st.lists(st.tuples(kinds, place, st.integers(0, 2**16)), min_size=1, max_size=4))


def mutate(data: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    out = bytearray(data)
    for kind, place, value in changes:
        at = int(place * len(out))
        if kind == "flip" and at < len(out):
            out[at] ^= 1 << value % 8
        elif kind == "u64":
            out[at : at + 8] = struct.pack("<Q", EXTREMES[value % len(EXTREMES)])
        elif kind == "u32":
            out[at : at + 4] = struct.pack("<I", EXTREMES[value % len(EXTREMES)] & 0xFFFFFFFF)
        elif kind == "cut":
            del out[max(at, 1) :]
        elif kind == "copy":
            out[at:at] = out[at : at + value % 4096]
        elif kind == "drop":
            del out[at : at + value % 4096]
    return bytes(out)


def _convert_mutated(sound: bytes, folder: Path, changes: list[tuple[str, float, int]]) -> bool:
    """Whether the mutated file was still readable. Nothing but `UserError` may escape, and memory stays small."""
    path = folder / "fuzz.gguf"
    path.write_bytes(mutate(sound, changes))
    out = folder / "out"
    out.mkdir(exist_ok=True)
    tracemalloc.start()
    try:
        with GGUFFile(path) as file:
            write_directory(file, out)
        return True
    except UserError:
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000


@settings(max_examples=150)
@given(changes=mutations())
def test_mutated_files_never_crash(
    sound: bytes, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, float, int]]
) -> None:
    _convert_mutated(sound, tmp_path_factory.mktemp("fuzz"), changes)


@pytest.mark.slow
@settings(max_examples=3000)
@given(changes=mutations())
def test_mutated_files_never_crash_at_length(
    sound: bytes, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, float, int]]
) -> None:
    _convert_mutated(sound, tmp_path_factory.mktemp("fuzz"), changes)
