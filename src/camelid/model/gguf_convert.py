"""A GGUF file -> a Hugging Face model directory in the cache, once: float32 weights, config, tokenizer, template.

    directory = converted("model.gguf")

The weights are the exact dequantised values, streamed tensor by tensor, so that a model is converted with little
more memory than its largest tensor. The directory is written beside its final place, synced and renamed: it is whole
or not there. Processes that ask for the same file wait for the one that works.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_layout import Layout, Rule, read_layout
from camelid.model.gguf_tokenizer import TokenizerFiles, read_tokenizer
from camelid.runs.staging import staged_directory

CONVERTER = 1  # raise it whenever the same file would give other bytes: old directories are then made anew
NOTE = "camelid_base.json"  # what the directory was made from, and the sizes of its files

Announce = Callable[[str], None]
Build = Callable[[Path], dict[str, object]]  # fills the directory, returns facts for the note


def cache_directory() -> Path:
    """Where converted bases live: `$XDG_CACHE_HOME/camelid/bases`, by default below `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "camelid" / "bases"


def converted(
    path: str | Path, *, name: str | None = None, key: str | None = None, announce: Announce | None = None
) -> Path:
    """The Hugging Face directory of a GGUF file, made now if the cache does not hold it yet.

    `key`: what identifies the file's content (a preset's sha256); by default its path, size and time of change.
    Raises `UserError` for a file that cannot be read, and where the disk is full.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read the GGUF file: {error.strerror}", where=str(path)) from None
    identity = key or f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"

    def build(stage: Path) -> dict[str, object]:
        with GGUFFile(path) as file:
            write_directory(file, stage)
            return {"license": file.metadata.get("general.license")}

    return cached(name or path.stem, identity, build, announce=announce)


def place(name: str, identity: str) -> Path:
    """Where in the cache the directory for `identity` is or would be."""
    digest = hashlib.sha256(f"{CONVERTER}|{identity}".encode()).hexdigest()[:16]
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "model"
    return cache_directory() / f"{safe}-{digest}"


def cached(name: str, identity: str, build: Build, *, announce: Announce | None = None) -> Path:
    """The cache directory for `identity`, filled by `build(stage)` if it is missing or not whole."""
    from filelock import FileLock

    directory = place(name, identity)
    if whole(directory):
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"):
            if whole(directory):  # another process made it while we waited
                return directory
            _make(directory, name, identity, build, announce or (lambda line: None))
    except OSError as error:
        raise UserError(
            f"cannot write the converted model: {error.strerror or error}",
            where=str(directory),
            mend="free space there, or set XDG_CACHE_HOME to a folder on another disk",
        ) from None
    return directory


def _make(directory: Path, name: str, identity: str, build: Build, announce: Announce) -> None:
    # Left behind by a process that was killed; nobody else can be writing one, the lock is ours.
    for stale in directory.parent.glob(f".{directory.name}.*-*"):
        shutil.rmtree(stale)
    damaged = directory.exists()
    announce(f"{name}: {'the cached copy is damaged, making it again' if damaged else 'converting, once'}: {directory}")
    with staged_directory(directory) as stage:
        facts = build(stage)
        note = {
            "name": name,
            "made_from": identity,
            "converter": CONVERTER,
            **facts,
            "files": {file.name: file.stat().st_size for file in sorted(stage.iterdir())},
        }
        _write_json(stage / NOTE, note)


def whole(directory: Path) -> bool:
    """Whether every file that the conversion wrote is there in its size."""
    try:
        note = json.loads((directory / NOTE).read_text(encoding="utf-8"))
        return all((directory / name).stat().st_size == size for name, size in note["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def write_directory(file: GGUFFile, directory: Path) -> None:
    """Write the Hugging Face form of an open GGUF file into an existing directory. Raises `UserError`, `OSError`."""
    layout, tokenizer = read_layout(file), read_tokenizer(file)
    rows, tokens = layout.config["vocab_size"], len(tokenizer.tokenizer["model"]["vocab"])
    if tokens > rows:
        raise UserError(
            f"its tokenizer has {tokens:,} tokens but its embedding only {rows:,} rows",
            where=str(file.path),
            mend="download or install it again",
        )
    free = shutil.disk_usage(directory).free
    needed = sum(math.prod(rule.shape) * 4 for rule in layout.rules) + (1 << 26)
    if free < needed:
        raise UserError(
            f"converting needs {needed / 1e9:.1f} GB on the disk, {free / 1e9:.1f} GB are free",
            where=str(directory.parent),
            mend="free space there, or set XDG_CACHE_HOME to a folder on another disk",
        )
    with ThreadPoolExecutor(1) as background:  # the tokenizer is Python work, the weights NumPy's: they overlap
        text = background.submit(tokenizer.dumps)
        write_weights(file, layout, directory / "model.safetensors")
        _write_description(layout, tokenizer, text.result(), directory)


def write_description(file: GGUFFile, directory: Path) -> int:
    """Write everything but the weights into an existing directory; returns the bytes that those would take."""
    layout, tokenizer = read_layout(file), read_tokenizer(file)
    _write_description(layout, tokenizer, tokenizer.dumps(), directory)
    return sum(math.prod(rule.shape) * 4 for rule in layout.rules)


def _write_description(layout: Layout, tokenizer: TokenizerFiles, text: str, directory: Path) -> None:
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    ids = tokenizer.generation
    config = layout.config | {key: ids[key] for key in ("bos_token_id", "pad_token_id") if key in ids}
    if "eos_token_id" in ids:
        config["eos_token_id"] = ids["eos_token_id"][0]
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", ids)
    _write_json(directory / "tokenizer_config.json", tokenizer.config)
    if tokenizer.chat_template is not None:
        (directory / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def write_weights(file: GGUFFile, layout: Layout, path: Path) -> None:
    """Stream all tensors as float32 into one safetensors file (8 bytes of length, a JSON header, the values).

    The safetensors library writes only what is wholly in memory; a model of 7B parameters in float32 is 28 GB.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    places: list[tuple[Rule, int]] = []
    at = 0
    for rule in layout.rules:
        places.append((rule, at))
        end = at + 4 * math.prod(rule.shape)
        header[rule.target] = {"dtype": "F32", "shape": list(rule.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + at)
    base = 8 + len(text)

    def work(place: tuple[Rule, int]) -> None:
        rule, offset = place
        with path.open("r+b") as part:
            part.seek(base + offset)
            for piece in values_of(file, rule):
                part.write(np.ascontiguousarray(piece, "<f4").data)

    # The largest first, so that no thread is left alone with it at the end.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for _ in pool.map(work, sorted(places, key=lambda place: -math.prod(place[0].shape))):
            pass  # an error in a thread is raised here


def values_of(file: GGUFFile, rule: Rule) -> Iterator[np.ndarray]:
    """The float32 values of a rule's target, in order, in pieces."""
    if not rule.heads:
        for piece in file.pieces(rule.source):
            yield piece + np.float32(rule.offset) if rule.offset else piece
        return
    yield halves_apart(file.values(rule.source), rule.heads)


def halves_apart(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of rotary pairs: rows (head, pair, half) -> Hugging Face's (head, half, pair)."""
    pairs = weight.shape[0] // heads // 2
    return weight.reshape(heads, pairs, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
