"""`--engine vllm`: the same models behind vLLM's own server, where vLLM is installed (a GPU machine, as a rule).

vLLM takes Hugging Face directories and PEFT adapters, which is what runs leave behind; this file only says so in vLLM's
words. The process becomes vLLM's: its signals, its exit code. Its guards are its own too: it checks neither Host nor
Origin, and its key covers /v1 alone, so it belongs behind something that does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from camelid.errors import UserError
from camelid.serve.settings import Settings

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank may name


@dataclass(frozen=True, slots=True)
class Fleet:
    """What vLLM is to serve: a Hugging Face directory under a name, its tokenizer's directory, adapters by name."""

    name: str
    directory: Path
    tokenizer: Path
    adapters: Mapping[str, Path] = field(default_factory=dict)


def vllm_command(program: str, fleet: Fleet, settings: Settings) -> list[str]:
    """The argument list. The key is not in it: other users of a machine can read a process's arguments.

    Raises UserError for an adapter that vLLM does not take.
    """
    command = [program, "serve", str(fleet.directory), "--served-model-name", fleet.name]
    command += ["--host", settings.host, "--port", str(settings.port)]
    if fleet.tokenizer != fleet.directory:
        command += ["--tokenizer", str(fleet.tokenizer)]
    if fleet.adapters:
        rank = max(_rank(path) for path in fleet.adapters.values())
        most = next((allowed for allowed in _RANKS if allowed >= rank), None)
        if most is None:
            raise UserError(
                f"an adapter has rank {rank}; vLLM takes {_RANKS[-1]} at most", mend="merge it: camelid export"
            )
        command += ["--enable-lora", "--max-loras", str(len(fleet.adapters)), "--max-lora-rank", str(most)]
        command += ["--lora-modules", *(f"{name}={path}" for name, path in fleet.adapters.items())]
    return command


def _rank(adapter: Path) -> int:
    """Of a LoRA adapter. Raises UserError for one of another kind."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        kind = "DoRA" if config.get("use_dora") else config.get("peft_type")
        raise UserError(
            f"vLLM serves LoRA adapters, and this is {kind}", where=str(adapter), mend="merge it: camelid export"
        )
    return max([int(config.get("r", 8)), *(int(r) for r in (config.get("rank_pattern") or {}).values())])


def run_vllm(fleet: Fleet, settings: Settings, say: Callable[[str], None]) -> NoReturn:
    """Become vLLM. Raises UserError where it is not installed."""
    program = shutil.which("vllm")
    if program is None:
        raise UserError(
            "vLLM is not installed here (there is no program vllm)",
            where="--engine",
            mend="pip install vllm on a machine with a GPU, or leave --engine out",
        )
    command = vllm_command(program, fleet, settings)
    say("starting " + " ".join(command))
    os.execve(program, command, {**os.environ, "VLLM_API_KEY": settings.key})
