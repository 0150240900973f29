"""Sources: what `data:` may be, how rows are drawn, what is announced, and that every row is accounted for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.data import hub
from camelid.data.readers.rows import RawRow, RowSource
from camelid.data.records import Conversation, Record, Rejection, Text
from camelid.data.sampling import draw
from camelid.data.sources import Ledger, SourceSpec, read_records
from camelid.errors import UserError


def alpaca(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"instruction": f"q{i}", "input": "", "output": f"a{i}"} for i in range(start, start + count)]


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read(spec: Any, seed: int = 0, **options: Any) -> tuple[list[Record], Ledger, list[str]]:
    ledger, said = Ledger(), []
    records = list(read_records(spec, seed=seed, ledger=ledger, announce=said.append, **options))
    assert ledger.read == ledger.kept + ledger.rejected
    assert ledger.kept == len(records)
    return records, ledger, said


def answers(records: Sequence[Record]) -> list[str]:
    return [record.messages[-1].content for record in records if isinstance(record, Conversation)]


# -- one file -------------------------------------------------------------------------------------------------------


def test_a_file_is_recognised_announced_and_counted(tmp_path: Path) -> None:
    rows = [*alpaca(1200), {"instruction": "q", "output": ""}, {"instruction": "q", "output": 3}]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    seen: list[Rejection] = []
    records, ledger, said = read(str(path), on_reject=seen.append)
    assert said == ["rows.jsonl: Alpaca, 1,202 rows, 2 rejected"]
    assert (ledger.read, ledger.kept, ledger.rejected) == (1202, 1200, 2)
    assert [(r.line, r.reason) for r in seen] == [(1201, "output is empty"), (1202, "output is a number, not text")]
    assert seen == ledger.rejections
    assert records[7].origin.file == str(path)
    assert records[7].origin.line == 8
    assert all(rejection.file == str(path) and "instruction" in rejection.excerpt for rejection in seen)


def test_formats_mixed_in_one_file_are_read_row_by_row(tmp_path: Path) -> None:
    rows = [*alpaca(2), {"question": "q", "answer": "a"}, {"text": "running"}, {"foo": 1}]
    records, ledger, said = read(str(write_lines(tmp_path / "rows.jsonl", rows)))
    assert [type(record) for record in records] == [Conversation, Conversation, Conversation, Text]
    assert ledger.rejected == 1
    assert said == ["rows.jsonl: Alpaca (2), question/answer (1), text (1), 5 rows, 1 rejected"]


def test_repairs_are_announced_and_counted(tmp_path: Path) -> None:
    turns = [{"from": "gpt", "value": "x"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    _, ledger, said = read(str(write_lines(tmp_path / "rows.jsonl", [{"conversations": turns}] * 3)))
    assert said[0].startswith("rows.jsonl: ShareGPT, 3 rows; 3 began with the assistant")
    assert sum(ledger.notes.values()) == 3


def test_csv_columns_that_hold_lists(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('instruction,input,output,history\n"q, 2",,a,"[[""x"", ""y""]]"\nq,,a,\n', "utf-8")
    records, _, _ = read(str(path))
    assert [len(record.messages) for record in records if isinstance(record, Conversation)] == [4, 2]


def test_parquet_with_nulls_and_nested_turns(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    table = pyarrow.Table.from_pylist(
        [{"messages": turns, "instruction": None, "output": None}]
        + [{"messages": None, "instruction": "q", "output": f"a{i}"} for i in range(600)]
        + [{"messages": None, "instruction": "q", "output": "nul\x00"}]
    )
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=100)
    records, ledger, said = read(str(path))
    assert said == ["rows.parquet: Alpaca (600), messages (1), 602 rows, 1 rejected"]
    assert [record.origin.line for record in records] == list(range(1, 602))
    assert ledger.rejections[0].line == 602
    assert "NUL" in ledger.rejections[0].reason


def test_a_damaged_parquet_row_group_is_one_rejection(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(alpaca(3000)), path, row_group_size=1000, compression="none")
    data = bytearray(path.read_bytes())
    column = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(2)
    begin = column.dictionary_page_offset or column.data_page_offset
    data[begin : begin + 200] = b"\xff" * 200
    path.write_bytes(data)
    records, ledger, _ = read(str(path))
    assert ledger.rejected == 1
    assert "rows 1001 to 2000 were left out" in ledger.rejections[0].reason
    assert [record.origin.line for record in records] == [*range(1, 1001), *range(2001, 3001)]


# -- directories, globs ---------------------------------------------------------------------------------------------


def test_a_directory_reads_its_data_files_in_order(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", alpaca(2, 10))
    write_lines(tmp_path / "a.jsonl", alpaca(2))
    write_lines(tmp_path / "deeper" / "c.jsonl", alpaca(1, 20))
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "LICENSE.txt").write_text("mine")
    write_lines(tmp_path / ".cache" / "x.jsonl", alpaca(1, 99))
    records, _, said = read(str(tmp_path))
    assert answers(records) == ["a0", "a1", "a10", "a11", "a20"]
    assert len(said) == 3


def test_many_files_are_announced_as_one_source(tmp_path: Path) -> None:
    for i in range(7):
        write_lines(tmp_path / f"{i}.jsonl", alpaca(2))
    assert read(str(tmp_path))[2] == [f"{tmp_path}, 7 files: Alpaca, 14 rows"]


def test_a_glob(tmp_path: Path) -> None:
    for i in range(3):
        write_lines(tmp_path / f"part{i}" / f"{i}.jsonl", alpaca(1, i))
    write_lines(tmp_path / "other.json", alpaca(1, 9))
    assert answers(read(str(tmp_path / "**" / "*.jsonl"))[0]) == ["a0", "a1", "a2"]
    write_lines(tmp_path / "odd[1].jsonl", alpaca(1, 5))  # a name that looks like a pattern
    assert answers(read(str(tmp_path / "odd[1].jsonl"))[0]) == ["a5"]


@pytest.mark.parametrize("layout", ["data/{}-00000-of-00001.jsonl", "{}/rows.jsonl", "{}.jsonl", "my_{}.jsonl"])
def test_splits_are_told_by_names(tmp_path: Path, layout: str) -> None:
    write_lines(tmp_path / layout.format("train"), alpaca(2))
    write_lines(tmp_path / layout.format("dev"), alpaca(1, 10))
    records, _, said = read(str(tmp_path))
    assert answers(records) == ["a0", "a1"]
    assert said == [f"{Path(layout.format('train')).name}: Alpaca, 2 rows (split train of validation, train)"]
    assert answers(read({"path": str(tmp_path), "split": "validation"})[0]) == ["a10"]
    with pytest.raises(UserError, match="has no split 'test' — it has validation, train"):
        read({"path": str(tmp_path), "split": "test"})


def test_names_that_merely_contain_a_split_are_no_splits(tmp_path: Path) -> None:
    write_lines(tmp_path / "training_rows_contest.jsonl", alpaca(1))
    write_lines(tmp_path / "devices.jsonl", alpaca(1, 5))
    assert answers(read(str(tmp_path))[0]) == ["a5", "a0"]


def test_the_front_matter_of_a_hub_directory(tmp_path: Path) -> None:
    write_lines(tmp_path / "en" / "x1.jsonl", alpaca(1, 1))
    write_lines(tmp_path / "zh" / "x2.jsonl", alpaca(1, 2))
    write_lines(tmp_path / "zh" / "x3.jsonl", alpaca(1, 3))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files: en/*.jsonl\n- config_name: zh\n  data_files:\n"
        "  - split: train\n    path: zh/x2.jsonl\n  - split: test\n    path: [zh/x3.jsonl]\n---\n# Hello\n"
    )
    assert answers(read({"path": str(tmp_path), "name": "en"})[0]) == ["a1"]
    assert answers(read({"path": str(tmp_path), "name": "zh"})[0]) == ["a2"]
    assert answers(read({"path": str(tmp_path), "name": "zh", "split": "test"})[0]) == ["a3"]
    with pytest.raises(UserError, match=r"several configurations — choose: name: en \| zh"):
        read(str(tmp_path))
    with pytest.raises(UserError, match="has no configuration 'fr' — it has en, zh"):
        read({"path": str(tmp_path), "name": "fr"})
    (tmp_path / "README.md").write_text("---\nconfigs:\n- data_files: ../../*.jsonl\n---\n")
    with pytest.raises(UserError, match="outside its directory"):
        read(str(tmp_path))


def test_what_save_to_disk_writes(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(alpaca(300))
    with pyarrow.ipc.new_stream(str(tmp_path / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "cache-123.arrow").write_bytes(b"none of ours")
    (tmp_path / "dataset_info.json").write_text('{"features": {}, "builder_name": "json"}')
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    records, _, said = read(str(tmp_path))
    assert len(records) == 300
    assert said == ["data-00000-of-00001.arrow: Alpaca, 300 rows"]
    (tmp_path / "state.json").write_text('{"_indices_data_files": [{"filename": "indices.arrow"}]}')
    with pytest.raises(UserError, match="flatten_indices"):
        read(str(tmp_path))


# -- dataset_info.json ----------------------------------------------------------------------------------------------


@pytest.fixture
def info(tmp_path: Path) -> Path:
    write_lines(tmp_path / "own.jsonl", [{"q": "a", "ctx": "b", "ans": "c", "output": "not this"}])
    turns = [{"who": "U", "says": "a"}, {"who": "A", "says": "b"}]
    write_lines(tmp_path / "chats.jsonl", [{"dialog": turns}, {"dialog": [{"who": "X", "says": "a"}]}])
    write_lines(tmp_path / "corpus.jsonl", [{"body": "running text"}])
    write_lines(tmp_path / "pairs.jsonl", [{"q": "a", "good": "b", "bad": "c"}])
    write_lines(tmp_path / "plain.jsonl", alpaca(20))
    content: dict[str, Any] = {
        "own": {"file_name": "own.jsonl", "columns": {"prompt": "q", "query": "ctx", "response": "ans"}},
        "chats": {
            "file_name": "chats.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "dialog"},
            "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "A"},
        },
        "corpus": {"file_name": "corpus.jsonl", "columns": {"prompt": "body"}},
        "pairs": {
            "file_name": "pairs.jsonl",
            "ranking": True,
            "columns": {"prompt": "q", "chosen": "good", "rejected": "bad"},
        },
        "plain": {"file_name": "plain.jsonl", "num_samples": 5},
        "lost": {"file_name": "gone.jsonl"},
        "scripted": {"script_url": "x"},
        "pictures": {"file_name": "own.jsonl", "columns": {"images": "q"}},
        "typo": {"file_name": "own.jsonl", "columns": {"promt": "q"}},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(content))
    return tmp_path


def test_dataset_info_maps_columns_and_tags(info: Path) -> None:
    for spec in (str(info / "own"), f"{info}/dataset_info.json:own", str(info / "own.jsonl")):
        (record,) = read(spec)[0]
        assert isinstance(record, Conversation)
        assert [message.content for message in record.messages] == ["a\nb", "c"]
    records, ledger, _ = read(str(info / "chats"))
    assert answers(records) == ["b"]
    assert ledger.rejections[0].reason.startswith("unknown role 'X' (dataset_info.json knows U, A")
    assert read(str(info / "corpus"))[0][0].text == "running text"  # type: ignore[union-attr]
    assert type(read(str(info / "pairs"))[0][0]).__name__ == "Preference"
    assert len(read(str(info / "plain"))[0]) == 5
    assert len(read(f"{info / 'plain'}#3")[0]) == 3


def test_a_bare_name_is_looked_up_here_and_in_data(info: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(info)
    assert len(read("own")[0]) == 1
    (info / "elsewhere").mkdir()
    monkeypatch.chdir(info / "elsewhere")
    (info / "elsewhere" / "data").symlink_to(info)
    assert len(read("own")[0]) == 1


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("{}/dataset_info.json:owm", "has no data set 'owm' — it has own"),
        ("{}/dataset_info.json", "names data sets and is none — choose one: .*dataset_info.json:own"),
        ("{}/lost", "its file .*gone.jsonl does not exist"),
        ("{}/scripted", "scripts of data sets are not run"),
        ("{}/pictures", "has images, and only text is trained"),
        ("{}/typo", "unknown column 'promt' — known: prompt"),
        ("{}/chat", "no such file, directory or data set — did you mean .*chats"),
    ],
)
def test_dataset_info_faults(info: Path, spec: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        read(spec.format(info))


# -- the hub --------------------------------------------------------------------------------------------------------


def test_an_id_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "can_load", lambda: False)
    with pytest.raises(UserError, match="id on the Hugging Face hub: pip install datasets"):
        read("tatsu-lab/alpaca")
    with pytest.raises(UserError, match="pip install datasets"):
        hub.open_id("tatsu-lab/alpaca", None, None)


def test_an_id_is_read_through_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_id(identity: str, config: str | None, split: str | None) -> RowSource:
        asked.append((identity, config, split))
        return RowSource(RawRow(i, row, "", True) for i, row in enumerate(alpaca(3), 1))

    monkeypatch.setattr(hub, "can_load", lambda: True)
    monkeypatch.setattr(hub, "open_id", open_id)
    records, _, said = read({"path": "tatsu-lab/alpaca", "split": "test", "name": "default"})
    assert asked == [("tatsu-lab/alpaca", "default", "test")]
    assert answers(records) == ["a0", "a1", "a2"]
    assert said == ["alpaca: Alpaca, 3 rows (read from the Hugging Face hub, split test)"]


def test_what_the_package_raises_becomes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(identity: str, config: str | None, *, split: str, streaming: bool) -> Any:
        if identity == "owner/missing":
            raise FileNotFoundError("no such\ndata set")

        def rows() -> Any:
            yield from alpaca(2)
            raise ConnectionError("the line went dead")

        assert (split, streaming) == ("train", True)
        return rows()

    monkeypatch.setattr(hub, "can_load", lambda: True)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(UserError, match="owner/missing: cannot be loaded: FileNotFoundError: no such data set"):
        read("owner/missing")
    records, ledger = [], Ledger()
    with pytest.raises(UserError, match="ConnectionError: the line went dead"):
        records.extend(read_records("owner/flaky", seed=0, ledger=ledger))
    assert ledger.kept == 2


# -- sampling and weights -------------------------------------------------------------------------------------------


def test_sampling_is_seeded_exact_and_in_order(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", alpaca(1000))
    records, ledger, said = read(f"{path}#50", seed=1)
    assert (ledger.read, len(records)) == (50, 50)
    assert said == ["rows.jsonl: Alpaca, 50 drawn of 1,000 rows"]
    lines = [record.origin.line for record in records]
    assert lines == sorted(set(lines))
    assert answers(read({"path": str(path), "sample": 50}, seed=1)[0]) == answers(records)
    assert answers(read(f"{path}#50", seed=2)[0]) != answers(records)
    assert len(read(f"{path}#5000")[0]) == 1000


def test_a_sample_reaches_all_of_the_file() -> None:
    hits = [0] * 20
    for seed in range(2000):
        for item in draw(range(20), sample=5, weight=1, seed=str(seed)):
            hits[item] += 1
    assert all(420 < count < 580 for count in hits)  # 500 expected, standard deviation 19


@given(st.integers(0, 3000), st.floats(0.01, 5), st.integers(0, 5))
def test_weights_repeat_every_row_and_draw_the_fraction(count: int, weight: float, seed: int) -> None:
    drawn = list(draw(range(count), sample=None, weight=weight, seed=str(seed)))
    assert drawn == list(draw(range(count), sample=None, weight=weight, seed=str(seed)))
    assert drawn == sorted(drawn)
    copies = [drawn.count(i) for i in range(0, count, 97)]
    assert all(int(weight) <= number <= int(weight) + 1 for number in copies)
    blocks = count // 1000 * 1000
    assert abs(sum(item < blocks for item in drawn) - blocks * weight) <= 1


def test_several_sources_with_weights(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "first.jsonl", alpaca(1000))
    second = write_lines(tmp_path / "second.jsonl", alpaca(4, 5000))
    specs = [{"path": str(first), "weight": 0.1}, SourceSpec(str(second), weight=2)]
    records, ledger, said = read(specs)
    assert len(records) == 108
    assert ledger.read == 108
    assert answers(records)[-8:] == ["a5000", "a5000", "a5001", "a5001", "a5002", "a5002", "a5003", "a5003"]
    assert said == ["first.jsonl: Alpaca, 100 drawn of 1,000 rows", "second.jsonl: Alpaca, 8 drawn of 4 rows"]
    # A source's rows do not depend on the sources beside it.
    assert answers(read(specs[:1])[0]) == answers(records)[:100]


# -- faults of the user's -------------------------------------------------------------------------------------------


def at(name: str) -> Callable[[Path], Any]:
    return lambda folder: str(folder / name)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        (at("rosw.jsonl"), "no such file, directory or data set — did you mean .*rows.jsonl"),
        (at("nowhere/rows.jsonl"), "no such file, directory or data set — check the path"),
        (at("*.ndjson"), "no file matches this pattern"),
        (at("empty.json"), "the data set is empty"),
        (at("blank.jsonl"), "the data set is empty"),
        (at("folder"), "holds no data files — known kinds"),
        (
            at("unknown.jsonl"),
            "the format of its rows is not known: they have the fields instructions, outputs — did",
        ),
        (at("wrapped.json"), "the format of its rows is not known: they have the fields data"),
        (at("useless.jsonl"), r"none of its 2 rows can be used: 2 x output is empty \(.*useless.jsonl:1\)"),
        (at("garbage.json"), "none of its 1 rows can be used: 1 x broken JSON"),
        (at("twice.csv"), "names the column 'a' twice"),
        (at("no.parquet"), "no readable Parquet file"),
        (at("no.arrow"), "no readable Arrow file"),
        (at("no.jsonl.gz"), "cannot be read"),
        (lambda folder: [], "no data source is given"),
        (lambda folder: {"weight": 2}, "a data source needs a path"),
        (lambda folder: [7], "a data source is a path or a mapping, not 7"),
        (lambda folder: "{" + "x" * 5000, "is no path"),
        (lambda folder: {"path": ""}, "a data source needs a path"),
        (lambda folder: {"path": "x", "wieght": 2}, "has no field 'wieght' — known: weight"),
        (lambda folder: {"path": str(folder / "rows.jsonl"), "weight": -1}, "weight -1 is no positive number"),
        (lambda folder: {"path": str(folder / "rows.jsonl"), "weight": "2"}, "weight '2' is no positive number"),
        (lambda folder: {"path": str(folder / "rows.jsonl"), "sample": 0}, "sample 0 is no positive whole number"),
        (lambda folder: {"path": str(folder / "rows.jsonl#5"), "sample": 3}, "sampled twice"),
        (lambda folder: {"path": str(folder / "rows.jsonl"), "split": "train"}, "a file has no split"),
        (lambda folder: {"path": str(folder / "rows.jsonl"), "weight": 1e-9}, "draws none of its rows"),
    ],
)
def test_faults_are_one_line_that_helps(tmp_path: Path, spec: Callable[[Path], Any], match: str) -> None:
    write_lines(tmp_path / "rows.jsonl", alpaca(3))
    write_lines(tmp_path / "unknown.jsonl", [{"instructions": "a", "outputs": "b"}] * 200)
    write_lines(tmp_path / "useless.jsonl", [{"instruction": "a", "output": ""}] * 2)
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": alpaca(3)}))
    (tmp_path / "garbage.json").write_text("!!!")
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "blank.jsonl").write_text("")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    for name in ("no.parquet", "no.arrow", "no.jsonl.gz"):
        (tmp_path / name).write_bytes(b"what is this")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=match) as caught:
        read(spec(tmp_path))
    assert "\n" not in str(caught.value)


def test_missing_files_are_told_before_anything_is_read(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", alpaca(3))
    with pytest.raises(UserError, match="no such file"):
        read_records([str(tmp_path / "rows.jsonl"), str(tmp_path / "gone.jsonl")], seed=0, ledger=Ledger())


def test_a_file_of_an_unknown_format_is_given_up_early(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [{"foo": 1}] * 5000)
    ledger = Ledger()
    with pytest.raises(UserError, match="not known"):
        list(read_records(str(path), seed=0, ledger=ledger))
    assert ledger.read == 100


def test_closing_early_closes_the_file(tmp_path: Path) -> None:
    # An open file would be a ResourceWarning, and warnings are errors.
    path = write_lines(tmp_path / "rows.jsonl", alpaca(5000))
    records = read_records(str(path), seed=0, ledger=Ledger(), chunk=1000)
    next(records)
    del records


# -- the ledger -----------------------------------------------------------------------------------------------------


def test_later_stages_move_rows_from_kept_to_rejected(tmp_path: Path) -> None:
    seen: list[Rejection] = []
    _, ledger, _ = read(str(write_lines(tmp_path / "rows.jsonl", alpaca(10))), on_reject=seen.append)
    ledger.reject(Rejection("rows.jsonl", 4, "longer than 2048 tokens"))
    assert (ledger.read, ledger.kept, ledger.rejected) == (10, 9, 1)
    assert [rejection.line for rejection in seen] == [4]
    with pytest.raises(ValueError, match="never kept"):
        Ledger().reject(Rejection("rows.jsonl", 4, "?"))


@pytest.mark.parametrize(("rejected", "allowed", "stops"), [(0, 0.0, False), (1, 0.01, False), (2, 0.01, True)])
def test_check_stops_beyond_the_allowance(rejected: int, allowed: float, stops: bool) -> None:
    ledger = Ledger()
    for i in range(100):
        if i < rejected:
            ledger.refuse(Rejection("f.json", i + 1, f"turn {i + 2} is empty"))
        else:
            ledger.keep()
    if not stops:
        ledger.check(allowed)
        return
    expected = r"2 of 100 rows rejected \(2.0%, allowed 1.0%\): 2 x turn 2 is empty \(f.json:1\)"
    with pytest.raises(UserError, match=expected) as caught:
        ledger.check(allowed)
    assert caught.value.mend.endswith("max_rejected=0.03")


def test_the_allowance_that_is_offered_lets_the_run_through() -> None:
    for read in range(1, 250):
        ledger = Ledger(read=read, kept=read - 1, rejected=1)
        with pytest.raises(UserError) as caught:
            ledger.check(0.0)
        ledger.check(float(caught.value.mend.rpartition("=")[2]))


def test_the_ledger_stays_small() -> None:
    ledger, seen = Ledger(), []
    ledger.on_reject = seen.append
    for i in range(20_000):
        ledger.refuse(Rejection("f", i, f"unknown role {chr(0x4E00 + i)!r}"))
    assert len(seen) == 20_000
    assert len(ledger.rejections) == 10_000
    assert len(ledger.reasons) <= 1001
    assert sum(ledger.reasons.values()) == 20_000
