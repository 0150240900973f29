"""The GGUF files of a model: what llama.cpp can run instead of the weights in memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from camelid.model.gguf_convert import cache_directory
from camelid.model.presets import PRESETS, preset_gguf
from camelid.model.resolve import ADAPTER_FILE, Source
from camelid.runs.staging import staged_directory

Announce = Callable[[str], None]


def gguf_of(model: str, source: Source) -> Path | None:
    """The file that MODEL is, or that its base came from; None where there is no single one."""
    match = re.fullmatch(r"(.+)-[0-9a-f]{16}", source.directory.name)
    name = model if model in PRESETS else match[1] if match else ""
    if name in PRESETS:
        return preset_gguf(name)
    path = Path(model).expanduser()
    found = [path] if path.suffix.lower() == ".gguf" else sorted(path.glob("*.gguf")) if path.is_dir() else []
    return found[0] if source.kind == "gguf" and len(found) == 1 else None


def adapter_file(source: Source, directory: Path, announce: Announce) -> Path:
    """A PEFT adapter as a GGUF adapter of `source`'s base, written once into the cache. Raises UserError."""
    digest = hashlib.sha256(str(source.directory).encode())
    for name in ("adapter_config.json", ADAPTER_FILE):
        digest.update((directory / name).read_bytes())
    folder = cache_directory().parent / "adapters" / digest.hexdigest()[:16]
    file = folder / "adapter.gguf"
    if not file.is_file():
        announce(f"writing the adapter {directory} for llama.cpp (once)")
        from camelid.model.export import weights_of
        from camelid.model.gguf_lora import write_lora
        from camelid.model.gguf_metadata import plan_file
        from camelid.model.load import load_adapter, load_model

        model = load_model(replace(source, adapter_directory=None), dtype="float32").model
        shapes = {name: tuple(value.shape) for name, value in weights_of(model).items()}
        plan, layout = plan_file(model.config.to_dict(), shapes, source.directory)
        peft = load_adapter(model, directory, trainable=False)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged_directory(folder) as stage:
            write_lora(stage / file.name, peft, plan, layout, kind="f32", name=directory.name)
    return file
