"""`camelid data mix`: one shuffled data set out of several, each with its share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from camelid.cli.console import quiet, say
from camelid.cli.data.results import files_of, tell
from camelid.data.factory.mix import RowStore, Weighted, draw_order, make_plan, probabilities, weighted
from camelid.data.factory.output import Output
from camelid.data.factory.rows import Row, read_rows
from camelid.data.ledger import Ledger
from camelid.data.locate import SourceSpec
from camelid.errors import UserError
from camelid.runs.meter import Meter

_REPLAY_SHARE = 0.2  # as in a recipe


@dataclass(frozen=True, slots=True)
class MixOptions:
    """What the mixture is to be.

    count: rows, None for as many as there are; cap: how often a row comes at most, None for as often as it takes; tag:
    field that tells each row's source, None for none
    """

    count: int | None = None
    temperature: float = 1.0
    cap: int | None = None
    replay: str | None = None
    replay_share: float | None = None
    tag: str | None = None
    seed: int = 42


def mix(sources: Sequence[str], output: Path, options: MixOptions, *, overwrite: bool, as_json: bool) -> int:
    """Read every source once, then draw. Raises UserError for what cannot be read, drawn or written."""
    if options.replay is None and options.replay_share is not None:
        raise UserError("there is no replay to have a share", where="--replay-share", mend="--replay FILE")
    named = [weighted(source) for source in sources]
    share = 0.0
    everything = list(named)
    if options.replay is not None:
        share = _REPLAY_SHARE if options.replay_share is None else options.replay_share
        everything.append(Weighted(options.replay, SourceSpec.of(options.replay)))
    with Output(output, overwrite=overwrite) as out, ExitStack() as stack:
        stores, files = _stored(everything, out, stack, options.tag, announce=quiet if as_json else say)
        sizes = [len(store) for store in stores[: len(named)]]
        chances = probabilities(sizes, [one.weight for one in named], options.temperature)
        replayed = len(stores[-1]) if share else 0
        plan = make_plan(sizes, chances, count=options.count, cap=options.cap, replay_size=replayed, replay_share=share)
        counts = [*plan.drawn, plan.replayed] if share else plan.drawn
        _write(everything, stores, counts, options, out)
        chances = [chance * (1 - share) for chance in chances]
        told = [_told(*one, sum(counts)) for one in zip(everything, stores, [*chances, share], counts, strict=False)]
        if share:
            told[-1] = {**told[-1], "weight": None, "replay": True}
        settings = {**asdict(options), "replay_share": share or None}
        manifest = out.finish("mix", settings, files, sources=told)
    tell(manifest, out, as_json=as_json)
    if not as_json:
        _say_shares(told, counts, options)
    return 0


def _stored(
    sources: Sequence[Weighted], out: Output, stack: ExitStack, tag: str | None, announce: Callable[[str], None]
) -> tuple[list[RowStore], list[Path]]:
    """The rows of each source, in a temporary file beside the output; and the files that were read."""
    ledgers = [Ledger() for _ in sources]
    readers = [
        read_rows([one.spec], ledger=ledger, on_reject=out.unreadable, announce=announce)
        for one, ledger in zip(sources, ledgers, strict=True)
    ]  # all are looked up before the first is read
    stores = []
    done = 0
    with Meter("rows read", lambda: (done + ledgers[min(done, len(sources) - 1)].share) / len(sources)) as meter:
        for rows in readers:
            store = stack.enter_context(RowStore(out.path.parent))
            for row in rows:
                _check_tag(row, tag)
                store.add(row.value)
                meter.step()
            stores.append(store)
            done += 1
    files = [path for ledger in ledgers for path in files_of(ledger)]
    return stores, list(dict.fromkeys(files))


def _check_tag(row: Row, tag: str | None) -> None:
    if tag is not None and isinstance(row.value, dict) and tag in row.value:
        raise UserError(
            f"the row has a field {tag!r} of its own",
            where=f"{row.origin.file}:{row.origin.line}",
            mend=f"another name: --tag {tag}_file",
        )


def _write(
    sources: Sequence[Weighted], stores: Sequence[RowStore], counts: Sequence[int], options: MixOptions, out: Output
) -> None:
    total = sum(counts)
    written = [bytearray(len(store)) for store in stores]
    with Meter("rows written", lambda: out.written / total) as meter:
        for place, number in draw_order(stores, counts, options.seed):
            value = stores[place][number]
            if options.tag is not None:
                fields = value if isinstance(value, dict) else {"messages": value}  # a bare list of messages
                value = {**fields, options.tag: sources[place].name}
            if written[place][number]:
                out.again(value)
            else:
                out.keep(value)
                written[place][number] = 1
            meter.step()
    out.leave(sum(marks.count(0) for marks in written), "not drawn")


def _told(source: Weighted, store: RowStore, chance: float, count: int, total: int) -> dict[str, Any]:
    """What came from a source."""
    size = len(store)
    return {
        "source": source.name,
        "weight": source.weight,
        "rows": size,
        "probability": chance,
        "drawn": count,
        "share": count / total,
        "used": min(size, count),
        "more_than_once": max(0, min(size, count - size)),
        "not_drawn": max(0, size - count),
    }


def _say_shares(told: Sequence[dict[str, Any]], counts: Sequence[int], options: MixOptions) -> None:
    total = sum(counts)
    for one in told:
        line = f"  {one['source']}: {one['drawn']:,} drawn of {one['rows']:,} rows, {one['share']:.1%} of the result"
        if abs(one["drawn"] - one["probability"] * total) > 1:
            line += f" (by its weight {one['probability']:.1%})"
        if one["more_than_once"]:
            line += f"; {one['more_than_once']:,} rows more than once, {-(-one['drawn'] // one['rows'])} times at most"
        say(line)
    if options.count is not None and total < options.count:
        say(f"{options.count:,} rows were asked for; with --cap {options.cap} there are only {total:,}")
