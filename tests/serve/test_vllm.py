"""vLLM is started with the same models and guards: its argument list, and what is said where it is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from camelid.cli.serve import ServeOptions, serve
from camelid.errors import UserError
from camelid.serve.settings import Settings
from camelid.serve.vllm import Fleet, vllm_command

SETTINGS = Settings("secret-key-1234", port=8123)


def adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, **config}), "utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_the_argument_list(tmp_path: Path) -> None:
    adapters = {"a": adapter(tmp_path / "a"), "b; rm -rf /": adapter(tmp_path / "b", r=9, rank_pattern={"q_proj": 33})}
    fleet = Fleet("base", Path("/m/base"), Path("/m/tok"), adapters)
    assert vllm_command("/bin/vllm", fleet, SETTINGS) == [
        *("/bin/vllm", "serve", "/m/base", "--served-model-name", "base", "--host", "127.0.0.1", "--port", "8123"),
        *("--tokenizer", "/m/tok", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "64", "--lora-modules"),
        *(f"a={tmp_path / 'a'}", f"b; rm -rf /={tmp_path / 'b'}"),
    ]
    bare = vllm_command("vllm", Fleet("base", Path("/m"), Path("/m")), SETTINGS)
    assert bare[1:5] == ["serve", "/m", "--served-model-name", "base"]
    assert not {"--enable-lora", "--tokenizer"} & set(bare)
    assert not [word for word in bare if "secret" in word], "others can read a process's arguments"


@pytest.mark.parametrize("config", [{"peft_type": "PREFIX_TUNING"}, {"use_dora": True}, {"r": 4096}])
def test_adapters_that_vllm_does_not_take(tmp_path: Path, config: dict[str, Any]) -> None:
    fleet = Fleet("base", Path("/m"), Path("/m"), {"a": adapter(tmp_path / "a", **config)})
    with pytest.raises(UserError, match="camelid export") as caught:
        vllm_command("vllm", fleet, SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    return folder


def test_where_it_is_not_installed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match="vLLM is not installed"):
        serve(ServeOptions(str(base), engine="vllm"))


def test_an_open_address_needs_a_key_here_too(base: Path) -> None:
    with pytest.raises(UserError, match="--api-key"):
        serve(ServeOptions(str(base), host="0.0.0.0", engine="vllm"))


def test_the_process_becomes_vllm(base: Path, tmp_path: Path) -> None:
    """With a program of that name that tells what it was given."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    told = "print(json.dumps([sys.argv[1:], os.environ['VLLM_API_KEY']]))"
    program.write_text(f"#!{sys.executable}\nimport json, os, sys\n{told}\nsys.exit(7)\n")
    program.chmod(0o755)
    tuned = adapter(tmp_path / "run" / "final", base_model_name_or_path=str(base))
    words = [
        "serve",
        str(tuned.parent),
        "--engine",
        "vllm",
        "--api-key",
        "secret-key-1234",
        "--adapter",
        f"more={tuned}",
    ]
    environment = {"PATH": str(program.parent), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "camelid.cli.main", *words], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 7, done.stderr
    given, key = json.loads(done.stdout)
    assert key == "secret-key-1234"
    assert given[:4] == ["serve", str(base), "--served-model-name", "base"]
    assert given[-2:] == [f"run={tuned}", f"more={tuned}"]
    assert "secret" not in done.stderr
