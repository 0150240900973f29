"""Tensor files: every dtype and shape comes back bit for bit, other readers agree, hostile ones are refused."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from camelid.train.tensor_file import NotATensorFile, TensorFile, first_difference, read_tensors

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def write(path: Path, tensors: dict[str, torch.Tensor]) -> tuple[int, str]:
    file = TensorFile(tensors)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        digest = file.write(descriptor)
    finally:
        os.close(descriptor)
    content = path.read_bytes()
    assert len(content) == file.size
    assert hashlib.sha256(content).hexdigest() == digest
    return file.size, digest


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bit for bit: NaN equals NaN, and -0.0 is not 0.0."""
    as_bytes = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(*as_bytes)


tensors = st.builds(
    lambda dtype, shape, seed: (
        torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(torch.bool)
        if dtype is torch.bool
        else torch.randint(0, 256, (*shape, dtype.itemsize), generator=torch.Generator().manual_seed(seed))
        .to(torch.uint8)
        .view(dtype)
        .reshape(shape)
    ),
    st.sampled_from(DTYPES),
    st.lists(st.integers(1, 5), max_size=3),
    st.integers(0, 1000),
)
names = st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__" and name.isprintable())


@given(st.dictionaries(names, tensors, max_size=6))
def test_any_tensors_come_back_bit_for_bit_and_other_readers_agree(
    tmp_path_factory: pytest.TempPathFactory, group: dict[str, torch.Tensor]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    size, digest = write(path, group)
    ours, theirs = read_tensors(path, size=size, sha256=digest), safetensors.torch.load_file(path)
    assert set(ours) == set(theirs) == set(group)
    assert all(same(ours[name], tensor) and same(theirs[name], tensor) for name, tensor in group.items())


def test_ties_views_scalars_empty_and_not_contiguous_ones(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(6, 4))
    group = {
        "head": weight,
        "embed": weight,
        "alias of a view": weight[:],
        "rows": weight[2:4],
        "transposed": weight.T,
        "expanded": torch.tensor([1.0]).expand(3, 5),
        "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "nothing": torch.zeros(0, 3),
        "nothing else": torch.zeros(0, 3),
    }
    path = tmp_path / "mixed.safetensors"
    size, digest = write(path, group)
    loaded = read_tensors(path, size=size, sha256=digest)
    assert all(same(loaded[name], tensor.detach()) for name, tensor in group.items())
    assert loaded["head"] is loaded["embed"] is loaded["alias of a view"]
    assert loaded["rows"].data_ptr() != loaded["head"][2:4].data_ptr()
    stored_once = 4 * 6 * 4 * 2 + 4 * 8 + 4 * 15 + 2  # head (tied), transposed, rows, expanded, scalar
    assert size < stored_once + 1200


def test_memory_is_one_buffer_and_not_two(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    size, digest = write(path, {str(i): torch.randn(500) for i in range(20)})
    loaded = read_tensors(path, size=size, sha256=digest)
    assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values()}) == 1


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(2, dtype=torch.complex64), torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta")],
    ids=["complex", "sparse", "meta"],
)
def test_what_the_format_cannot_hold_is_refused_by_name(tensor: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="'w'"):
        TensorFile({"w": tensor})


def test_the_reserved_name_is_refused() -> None:
    with pytest.raises(ValueError, match="__metadata__"):
        TensorFile({"__metadata__": torch.zeros(1)})


def hostile(header: Any, data: bytes = b"\0" * 16) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


HOSTILE = {
    "empty": b"",
    "header longer than the file": struct.pack("<Q", 1 << 60) + b"{}",
    "not JSON": hostile(b"\x80\x04"),
    "a list": hostile([]),
    "deep nesting": hostile(b"[" * 100_000),
    "unknown dtype": hostile(entry(dtype="X9")),
    "behind the end": hostile(entry(data_offsets=[16, 32])),
    "before the start": hostile(entry(data_offsets=[-16, 0])),
    "shape too large": hostile(entry(shape=[1 << 40, 1 << 40])),
    "negative shape": hostile(entry(shape=[-2, -2])),
    "misaligned": hostile(entry(shape=[2], data_offsets=[1, 9])),
    "tie to nothing": hostile({"__metadata__": {"camelid.ties": '{"a": "b"}'}}),
    "ties that are no mapping": hostile({"__metadata__": {"camelid.ties": "[1]"}}),
    "entry is a number": hostile({"w": 3}),
    "shape is text": hostile(entry(shape="four")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_with_true_hashes_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(NotATensorFile):
        read_tensors(path, size=len(HOSTILE[case]), sha256=hashlib.sha256(HOSTILE[case]).hexdigest())


@given(st.binary(max_size=200))
def test_any_bytes_with_true_hashes_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    try:
        read_tensors(path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    except NotATensorFile:
        return
    assert content[8:].startswith(b"{")


# -- a file beside what is in memory -----------------------------------------------------------------------------------


def kept() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "large": torch.randn(3, 200_000, generator=generator),  # longer than a piece
        "turned": torch.randn(40, 30, generator=generator).T,
        "half": torch.tensor([[float("nan"), -0.0]], dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
    }


def test_a_file_that_holds_what_is_in_memory(tmp_path: Path) -> None:
    safetensors.torch.save_file({k: v.contiguous() for k, v in kept().items()}, tmp_path / "a.safetensors")
    names: set[str] = set()
    assert first_difference(tmp_path / "a.safetensors", kept(), names) is None
    assert names == set(kept())


def _last_bit(tensors: dict[str, torch.Tensor]) -> None:
    tensors["large"].view(torch.int32)[2, -1] ^= 1


def _sign_of_zero(tensors: dict[str, torch.Tensor]) -> None:
    tensors["half"][0, 1] = 0.0


def _type(tensors: dict[str, torch.Tensor]) -> None:
    tensors["half"] = tensors["half"].to(torch.float16)


def _shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["turned"] = tensors["turned"].reshape(40, 30)


def _gone(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["none"]


@pytest.mark.parametrize(
    ("change", "named"),
    [(_last_bit, "large"), (_sign_of_zero, "half"), (_type, "half"), (_shape, "turned"), (_gone, "none")],
)
def test_the_tensor_that_differs_is_named(change: Any, named: str, tmp_path: Path) -> None:
    safetensors.torch.save_file({k: v.contiguous() for k, v in kept().items()}, tmp_path / "a.safetensors")
    expected = kept()
    change(expected)
    assert first_difference(tmp_path / "a.safetensors", expected, set()) == named


@pytest.mark.parametrize("content", [b"", b"\x08\0\0", b"\x08" + b"\0" * 7 + b"nothing!", b"\x02" + b"\0" * 7 + b"[]"])
def test_what_is_no_tensor_file_is_not_compared(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(NotATensorFile, match=r"^a\.safetensors: its header cannot be read"):
        first_difference(tmp_path / "a.safetensors", kept(), set())


def test_a_file_that_ends_early_differs(tmp_path: Path) -> None:
    safetensors.torch.save_file({"large": kept()["large"]}, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-5])
    assert first_difference(tmp_path / "a.safetensors", kept(), set()) == "large"
