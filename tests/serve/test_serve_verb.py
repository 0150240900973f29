"""`camelid serve` as a process: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from serving import chat
from typer.testing import CliRunner

from camelid.cli.main import app
from camelid.cli.serve import ServeOptions, named_adapters, settings_of
from camelid.errors import UserError

SOURCE = str(Path(__file__).parents[2] / "src")


@contextlib.contextmanager
def program(*words: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """(process, url, key) of a server that has said where it is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "camelid.cli.main", "serve", "echo", "--port", "0", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    try:
        assert process.stderr is not None
        said = "".join(process.stderr.readline() for _ in range(3))
        found = re.search(r"page: (http://[^/]+)/#key=(\S+)", said)
        assert found, said
        yield process, found[1], found[2]
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_a_server_made_with_one_command(tmp_path: Path) -> None:
    with program(folder=tmp_path) as (process, url, key):
        assert len(key) >= 32
        assert "127.0.0.1" in url
        headers = {"authorization": f"Bearer {key}"}
        done = httpx.post(f"{url}/v1/chat/completions", json=chat("你好"), headers=headers, trust_env=False)
        assert done.json()["choices"][0]["message"]["content"] == "你好"
        info = httpx.get(f"{url}/v1/camelid/info", headers=headers, trust_env=False).json()
        assert info["models"] == [{"id": "echo", "kind": "base", "template": "echo"}]
        assert (info["engine"], info["votes_file"]) == ("echo", "votes.jsonl")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 3
    assert not list(tmp_path.iterdir()), "nothing is written before there is a vote"


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once_and_the_exit_code_says_so(
    tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    with program("--drain-seconds", "0.2", folder=tmp_path) as (process, url, key):
        headers = {"authorization": f"Bearer {key}"}
        address = url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as connection:
            slow = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            connection.sendall(slow.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n")
            httpx.get(f"{url}/healthz", headers=headers, trust_env=False)
            process.send_signal(sign)
            time.sleep(0.05)
            process.send_signal(sign)
            assert process.wait(8) == code


def test_an_end_leaves_no_process_behind(tmp_path: Path) -> None:
    with program(folder=tmp_path) as (process, _, _):
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert not [child for child in family if child.is_running()]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["serve", "echo", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 2
    assert "cannot listen" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_an_open_address_without_a_key_is_refused(host: str) -> None:
    """LLaMA-Factory and ms-swift listen to everyone, without a key."""
    result = CliRunner().invoke(app, ["serve", "echo", "--host", host])
    assert result.exit_code == 2
    assert "--api-key" in result.stderr
    assert settings_of(ServeOptions("echo", host=host, api_key="chosen-by-someone")).key == "chosen-by-someone"


def test_keys_are_made_anew_each_time() -> None:
    keys = {settings_of(ServeOptions("echo")).key for _ in range(20)}
    assert len(keys) == 20
    with pytest.raises(UserError):
        settings_of(ServeOptions("echo", api_key=""))


def test_adapters_by_name() -> None:
    assert named_adapters(("a=x/y", "b=z=1")) == {"a": Path("x/y"), "b": Path("z=1")}
    for wrong in (("a",), ("=x",), ("a=",), ("a=x", "a=y")):
        with pytest.raises(UserError):
            named_adapters(wrong)


def test_help_imports_no_server() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from camelid.cli.main import app\n"
        "assert CliRunner().invoke(app, ['serve', '--help']).exit_code == 0\n"
        "heavy = {'torch', 'fastapi', 'starlette', 'uvicorn', 'prometheus_client', 'openai'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
        check=False,
    )
    assert done.returncode == 0, done.stderr
