"""Parquet and Arrow files, batch by batch. "Lines" are row numbers from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from camelid.data.readers.rows import Damage, RawRow
from camelid.errors import UserError

if TYPE_CHECKING:
    import pyarrow

BATCH = 256  # rows; a batch of long conversations is still a few megabytes


def read_parquet(path: Path) -> Iterator[RawRow | Damage]:
    """Yield the rows of a Parquet file; a row group that cannot be decoded is one `Damage`."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"is no readable Parquet file: {_one_line(error)}", where=str(path)) from error
    with file:
        begin = 0  # rows before the row group
        for group in range(file.num_row_groups):
            number = begin
            try:
                for batch in file.iter_batches(batch_size=BATCH, row_groups=[group]):
                    yield from _rows(batch, number)
                    number += batch.num_rows
            except (pyarrow.ArrowException, OSError) as error:
                size = file.metadata.row_group(group).num_rows
                reason = f"damaged Parquet data: {_one_line(error)}; rows {number + 1} to {begin + size} were left out"
                yield Damage(number + 1, reason, "")
            begin += file.metadata.row_group(group).num_rows


def read_arrow(path: Path) -> Iterator[RawRow | Damage]:
    """Yield the rows of an Arrow file or stream (what `datasets` writes on `save_to_disk`)."""
    import pyarrow
    import pyarrow.ipc

    number = 0
    try:
        with pyarrow.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                source.seek(0)
                opened = pyarrow.ipc.open_file(source)
                batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
            else:
                source.seek(0)
                batches = pyarrow.ipc.open_stream(source)
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH):
                    part = batch.slice(start, BATCH)
                    yield from _rows(part, number)
                    number += part.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        if number == 0:
            raise UserError(f"is no readable Arrow file: {_one_line(error)}", where=str(path)) from error
        yield Damage(number + 1, f"damaged Arrow data: {_one_line(error)}", "")


def _rows(batch: pyarrow.RecordBatch, number: int) -> Iterator[RawRow | Damage]:
    try:
        values = batch.to_pylist()
    except (ValueError, OverflowError):  # some string is not UTF-8, some date has no year; in which row?
        for i in range(batch.num_rows):
            try:
                value = batch.slice(i, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield Damage(number + i + 1, f"cannot be decoded: {_one_line(error)}", "")
            else:
                yield RawRow(number + i + 1, value, "", True)
        return
    for i, value in enumerate(values):
        yield RawRow(number + i + 1, value, "", True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
