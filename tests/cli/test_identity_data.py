"""`camelid data identity` and `identity-test`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from program import camelid
from scripted_endpoint import scripted_endpoint, whole

from camelid.data.ledger import Ledger
from camelid.data.sources import read_records


def test_a_pack_and_its_test(tmp_path: Path) -> None:
    output = tmp_path / "id.jsonl"
    arguments = ["data", "identity", "-o", output, "--name", "小骆", "--name-en", "Luo", "--maker", "骆驼社"]
    code, out, err = camelid(*arguments, "--copies", "1", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["counts"]["written"] == 550 == len(list(read_records([str(output)], seed=0, ledger=Ledger())))
    tests = tmp_path / "id.test.jsonl"
    held = [json.loads(line) for line in tests.read_text("utf-8").splitlines()]
    assert told["test"]["rows"] == len(held) == 180
    assert all(one["messages"][-1]["role"] == "user" for one in held)
    assert "小骆" in output.read_text("utf-8")

    def in_both(words: str, count: int) -> Any:
        zh = sum("一" <= letter <= "鿿" for letter in words) > len(words) / 3
        return whole("我是小骆，由骆驼社开发，不是别的助手。" if zh else "I'm Luo, made by 骆驼社.")

    with scripted_endpoint(in_both) as (url, _):
        code, out, err = camelid("data", "identity-test", tests, "--teacher", f"{url}#m", "--json")
    assert code == 0, err
    assert json.loads(out)["share"] >= 0.95
    with scripted_endpoint(lambda words, count: whole("I am SmolLM.")) as (url, _):
        code, out, err = camelid("data", "identity-test", tests, "--teacher", f"{url}#other")
    assert code == 1
    assert "right: 0/180 = 0.0%" in err
    assert "SmolLM" in err
    code, _, err = camelid("data", "identity-test", output, "--teacher", f"{url}#other")
    assert (code, "no test of `camelid data identity`" in err) == (2, True)
    code, _, err = camelid("data", "identity", "-o", tmp_path / "x.jsonl", "--name", " ", "--maker", "x")
    assert (code, "a name and a maker are needed" in err) == (2, True)
