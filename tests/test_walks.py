"""The walks of docs/*/factory.md from data to a trained model: each command run in order, beside published data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from alpaca_teacher import teacher, translated_pairs
from documents import REPOSITORY, arguments, pages
from program import camelid
from scripted_endpoint import scripted_endpoint
from tiny import tiny_base

PAGE = pages("en")["factory"]
WALKS = [title for _, title in PAGE.headings if title.endswith("step by step")]
ENDPOINT = re.compile(r"https://[\w./-]+(?=#)")


def _section(title: str) -> str:
    return PAGE.text.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_ends_in_a_trained_model(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path
) -> None:
    """The teacher answers with published rows; the base is a tiny one, and two steps are trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(REPOSITORY / "recipes")
    rows = [english for english, _ in translated_pairs(shared_data)][:300]
    (tmp_path / "alpaca_300.json").write_text(json.dumps(rows), encoding="utf-8")
    section = _section(title)
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    told = ""
    with scripted_endpoint(teacher(shared_data)) as (url, _):
        for command in block.strip().splitlines():
            program, *words = arguments(command)
            assert program == "camelid"
            words = [ENDPOINT.sub(url, word) for word in words]
            if words[0] == "train":
                words += [
                    f"base={tiny_base()}",
                    "max_steps=2",
                    "max_eval_examples=8",
                    "gradient_accumulation_steps=1",
                    "per_device_train_batch_size=4",
                    "retention=false",
                    "dtype=float32",
                ]
            code, out, err = camelid(*words)
            assert code == 0, f"{command}\n{out}\n{err}"
            told += err
    (shown,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    assert shown in told, "the page shows what the program says"
    run = next(word.partition("=")[2] for word in arguments(block.strip().splitlines()[-1]) if "output_dir" in word)
    assert list((tmp_path / run / "final").iterdir())


def test_there_are_two_walks() -> None:
    assert len(WALKS) == 2
