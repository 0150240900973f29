"""A base's configuration and tokenizer without its weights: for a plan nothing large is read, converted or fetched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_convert import write_description
from camelid.model.presets import PRESETS, converted_preset, installed_files
from camelid.model.resolve import Announce, Source, hub_id, resolve

_SMALL = ["*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model"]


@dataclass(frozen=True)
class Located:
    """Where a base's description lies, and what a run would first do: bytes to download, bytes to put into the cache.

    file: bytes of the weights' file, None where that lies in the directory already
    """

    source: Source
    download: int = 0
    cache: int = 0
    file: int | None = None


@contextmanager
def located(base: str, *, accept_license: str | None, announce: Announce) -> Iterator[Located]:
    """Find a base for as long as the block lasts. Raises UserError as `resolve` does."""
    preset = PRESETS.get(base)
    if preset is not None and preset.files and converted_preset(base) is None:
        if preset.accept and accept_license != preset.accept:
            resolve(base, accept_license=accept_license)  # raises, and says which terms to accept
        with _described(installed_files(base), Source("preset", Path(), None, preset.label, preset.license)) as found:
            yield found
        return
    path = Path(base).expanduser()
    if preset is None and path.is_file():
        with _described([path], Source("gguf", path, None, path.name, None)) as found:
            yield found
        return
    identity = hub_id(base) if preset is None else None
    if identity is not None:
        yield _from_hub(identity, announce)
        return
    yield Located(resolve(base, accept_license=accept_license, announce=announce))


@contextmanager
def _described(parts: list[Path], source: Source) -> Iterator[Located]:
    with TemporaryDirectory(prefix="camelid-plan-") as folder:
        directory = Path(folder)
        whole = parts[0]
        if len(parts) > 1:
            whole = directory / "parts.gguf"
            with whole.open("wb") as joined:
                for part in parts:
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, joined)
        with GGUFFile(whole) as file:
            size = write_description(file, directory)
        yield Located(replace(source, directory=directory), cache=size, file=size)


def _from_hub(identity: str, announce: Announce) -> Located:
    """A model of the Hugging Face hub: its small files, and the sizes of the others."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Located(resolve(snapshot_download(identity, local_files_only=True)))
    except (LocalEntryNotFoundError, UserError):
        announce(f"{identity}: asking Hugging Face for its description; its weights are not fetched")
    try:
        directory = Path(snapshot_download(identity, allow_patterns=_SMALL))
        files = HfApi().model_info(identity, files_metadata=True).siblings or []
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"the model {identity!r} is not on this machine and Hugging Face cannot be asked about it "
            f"({type(error).__name__})",
            mend="set HF_ENDPOINT to a mirror, or name a directory, a GGUF file or a preset",
        ) from None
    weights = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
    return Located(Source("huggingface", directory, None, identity, None), download=weights, file=weights)
