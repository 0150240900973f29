"""`camelid doctor`: what a bug report needs to know of this machine and installation."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from camelid.cli.console import print_json
from camelid.runs.manifest import code_version, hardware, package_versions


def doctor(*, as_json: bool) -> int:
    """Print the report; 0 if a model can be trained here."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        for key, value in report.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{key}: {shown}")
    return 0


def examine() -> dict[str, Any]:
    """The report as JSON values."""
    import torch

    from camelid.model.precision import measure_compute_dtype
    from camelid.model.presets import PRESETS

    free = shutil.disk_usage(Path.cwd()).free
    return {
        "camelid": code_version(),
        "packages": package_versions(),
        "hardware": hardware([torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]),
        "compute": str(measure_compute_dtype()),
        "torch threads": torch.get_num_threads(),
        "free disk": f"{free / 2**30:.1f} GiB",
        "bases": {name: _base_state(name) for name in PRESETS},
    }


def _base_state(name: str) -> str:
    """Whether a preset can be used at once, after a first conversion, or not yet."""
    from camelid.model.presets import PRESETS, converted_preset

    if converted_preset(name) is not None:
        return "ready"
    packages = [package for package, _ in PRESETS[name].files]
    if packages and all(find_spec(package) is not None for package in packages):
        return "installed, converted at first use"
    return "not installed"
