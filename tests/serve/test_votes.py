"""Votes: on the disk when they are said to be, and read by the data floor as preferences; ties never are."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import Scripted, in_shape, serving

from camelid.data.records import Preference
from camelid.data.sources import Ledger, read_records
from camelid.errors import UserError
from camelid.serve.asks import Vote
from camelid.serve.votes import VotesFile

VOTES = "/v1/camelid/votes"


def vote(**fields: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "system", "content": "简短"}, {"role": "user", "content": "你好\n\u2028?"}],
        "chosen": [{"role": "assistant", "content": "你好！🐫"}],
        "rejected": [{"role": "assistant", "content": "嗯"}],
        "model_chosen": "tuned",
        "model_rejected": "base",
        "language": "zh",
        **fields,
    }


def read(path: Path) -> tuple[list[Any], Ledger]:
    ledger = Ledger()
    return list(read_records(str(path), seed=0, ledger=ledger)), ledger


def test_a_vote_is_read_as_a_preference_and_a_tie_is_not(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    with serving(Scripted(), votes=path) as served, served.client() as client:
        assert client.post(VOTES, json=vote()).json() == {"saved": True, "file": "votes.jsonl"}
        same = vote(rejected=vote()["chosen"])
        for tie in (vote(tie=True), vote(both_bad=True), {**same, "tie": True}):
            assert client.post(VOTES, json=tie).json() == {"saved": True, "file": "votes.ties.jsonl"}
        assert client.post(VOTES, json=vote(language="en")).status_code == 200
        info = client.get("/v1/camelid/info").json()
    assert info["votes_file"] == str(path)
    records, ledger = read(path)
    assert (len(records), ledger.rejected, dict(ledger.notes)) == (2, 0, {})
    first = records[0]
    assert isinstance(first, Preference)
    assert [(m.role, m.content) for m in first.prompt] == [("system", "简短"), ("user", "你好\n\u2028?")]
    assert (first.chosen[0].content, first.rejected[0].content) == ("你好！🐫", "嗯")
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    assert [row["language"] for row in rows] == ["zh", "en"]
    with pytest.raises(UserError):
        read(tmp_path / "votes.ties.jsonl")
    assert len((tmp_path / "votes.ties.jsonl").read_text("utf-8").split("\n")) == 4
    assert path.stat().st_mode & 0o077 == 0, "what people asked is theirs"


@pytest.mark.parametrize(
    "fields",
    [
        {"rejected": [{"role": "assistant", "content": "你好！🐫"}]},
        {"chosen": [{"role": "user", "content": "hm"}]},
        {"prompt": [{"role": "assistant", "content": "hm"}]},
        {"chosen": []},
        {"prompt": []},
        {"chosen": [{"role": "assistant", "content": "a\x00b"}]},
        {"chosen": [{"role": "assistant", "content": "  "}]},
        {"language": "../../etc"},
        {"file": "/etc/passwd"},
        {"model_chosen": None},
    ],
    ids=str,
)
def test_a_vote_that_no_reader_would_take_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "votes.jsonl"
    with serving(Scripted(), votes=path) as served, served.client() as client:
        response = client.post(VOTES, json=vote(**fields))
        assert response.status_code == 400, response.text
        in_shape(response)
        served.canary()
    assert not list(tmp_path.iterdir())


def test_votes_from_many_at_once_are_whole_lines(tmp_path: Path) -> None:
    """Threads of one server, and two servers on one file."""
    path = tmp_path / "votes.jsonl"
    long = "长" * 5000
    code = (
        "import sys; from pathlib import Path; from camelid.serve.asks import Vote; from camelid.serve.votes import *\n"
        "vote, path = Vote.model_validate_json(sys.argv[1]), Path(sys.argv[2])\n"
        "for _ in range(25): VotesFile(path).keep(vote)\n"
    )
    body = json.dumps(vote(chosen=[{"role": "assistant", "content": long}]))
    other = subprocess.Popen([sys.executable, "-c", code, body, str(path)])
    mine = Vote.model_validate(vote())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: VotesFile(path).keep(mine), range(25)))
    assert other.wait(30) == 0
    records, ledger = read(path)
    assert (len(records), ledger.rejected) == (50, 0)


def test_a_vote_waits_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    with path.open("ab") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        kept = pool.submit(VotesFile(path).keep, Vote.model_validate(vote()))
        time.sleep(0.2)
        assert path.stat().st_size == 0
        fcntl.flock(other, fcntl.LOCK_UN)
        assert kept.result(5) == path
    assert path.stat().st_size > 0


def test_a_torn_line_stays_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text('{"prompt": "half a li', "utf-8")
    VotesFile(path).keep(Vote.model_validate(vote()))
    lines = path.read_text("utf-8").split("\n")
    assert lines[0] == '{"prompt": "half a li'
    assert json.loads(lines[1])["language"] == "zh"


def test_a_vote_is_on_the_disk_before_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr("camelid.serve.votes.os.fsync", lambda fd: (synced.append(fd), real(fd)))
    VotesFile(tmp_path / "votes.jsonl").keep(Vote.model_validate(vote()))
    assert len(synced) == 2, "the line, and the name of the new file"


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "votes.jsonl"
    with serving(Scripted(), votes=path) as served, served.client() as client:
        assert client.post(VOTES, json=vote()).status_code == 200
        before = path.read_bytes()

        def full(descriptor: int, data: bytes) -> None:
            os.write(descriptor, data[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("camelid.serve.votes.write_all", full)
        response = client.post(VOTES, json=vote())
        assert (response.status_code, in_shape(response)["code"]) == (503, "not_saved")
        assert path.read_bytes() == before
        served.canary()


def test_a_votes_file_where_none_can_be(tmp_path: Path) -> None:
    with serving(Scripted(), votes=tmp_path / "no" / "such" / "votes.jsonl") as served, served.client() as client:
        response = client.post(VOTES, json=vote())
        assert (response.status_code, in_shape(response)["code"]) == (503, "not_saved")
