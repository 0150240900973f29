"""Each peer's own environment under `benchmarks/venvs/`, made once with pip.

torch comes first and exactly, as in the project's Makefile, so that pip takes the CPU build where one is to be had.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"


@dataclass(frozen=True, slots=True)
class Environment:
    """What pip installs for a peer, what it must lose again, and which empty modules stand in for what has no build."""

    packages: tuple[str, ...]
    remove: tuple[str, ...] = ()
    empty_modules: tuple[str, ...] = ()
    torch: bool = True


ENVIRONMENTS = {
    "trl": Environment(("trl==1.16.*", "peft", "datasets", "accelerate")),
    # torchaudio and torchvision on PyPI are built for CUDA and fail to import beside a CPU torch. LLaMA-Factory imports
    # torchaudio without using it here; transformers does without torchvision when it is absent.
    "llamafactory": Environment(
        ("llamafactory==0.9.5",), remove=("torchaudio", "torchvision"), empty_modules=("torchaudio",)
    ),
    # Unsloth trains on CPUs since 2026; beside a CPU torch it runs only without torchvision.
    "unsloth": Environment(("unsloth", "psutil"), remove=("torchvision",)),
    # Its command line needs requests without saying so.
    "litgpt": Environment(("litgpt==0.5.*", "requests")),
    "rouge_score": Environment(("rouge_score==0.1.2",), torch=False),
}


def python_of(peer: str) -> Path:
    """The interpreter that runs a peer's driver: the present one for ours, its environment's for another."""
    if peer == "camelid":
        return Path(sys.executable)
    return BENCHMARKS / "venvs" / peer / "bin" / "python"


def install(peer: str) -> None:
    """Make a peer's environment unless it is there already. Raises CalledProcessError where pip fails."""
    if peer == "camelid":
        return
    home = BENCHMARKS / "venvs" / peer
    stamp = home / ".installed"
    if stamp.exists():
        return
    environment = ENVIRONMENTS[peer]
    print(f"making the environment of {peer} in {home.relative_to(BENCHMARKS.parent)}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = [TORCH] if environment.torch else []
    if torch:
        subprocess.run([*pip, *torch], check=True)
    subprocess.run([*pip, *torch, *environment.packages], check=True)
    if environment.remove:
        remove = [str(home / "bin" / "python"), "-m", "pip", "uninstall", "--quiet", "--yes", *environment.remove]
        subprocess.run(remove, check=True)
    for module in environment.empty_modules:
        site = next((home / "lib").glob("python3.*")) / "site-packages"
        (site / module).mkdir(exist_ok=True)
        (site / module / "__init__.py").write_text('"""Empty: the real module has no CPU build."""\n')
    stamp.write_text("\n".join(environment.packages) + "\n")
