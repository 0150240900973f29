"""The examples of the page on serving, in both languages, run against a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import LANGUAGES, pages
from serving import KEY, serving

from camelid.data.records import Preference
from camelid.data.sources import Ledger, read_records
from camelid.generate.echo import EchoGenerator


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_examples_run(language: str, tmp_path: Path) -> None:
    blocks = pages(language)["serve"].blocks
    with serving(EchoGenerator()) as served:
        environment = {**os.environ, "OPENAI_BASE_URL": f"{served.url}/v1", "OPENAI_API_KEY": KEY, "NO_PROXY": "*"}
        python = "\n".join(block.text for block in blocks if block.kind == "python")
        runs = [[sys.executable, "-X", "utf8", "-c", python]]
        if shutil.which("curl"):
            shell = [
                block.text.replace("http://127.0.0.1:8000", served.url) for block in blocks if block.kind == "bash"
            ]
            runs += [["bash", "-c", text] for text in shell]
        said = ""
        for words in runs:
            done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            said += done.stdout
    assert "get_weather" in said


def test_the_example_of_a_vote_is_a_preference(tmp_path: Path) -> None:
    (block,) = [block for block in pages("en")["serve"].blocks if block.kind == "json"]
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps(json.loads(block.text)) + "\n", "utf-8")
    (record,) = read_records(str(path), seed=0, ledger=Ledger())
    assert isinstance(record, Preference)
