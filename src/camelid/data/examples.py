"""From records to training examples: rendered once, in a thread that works ahead of the training loop.

The first optimiser step needs the first rows only, so nothing waits for the last row of a large file: the thread
renders in the order in which the first epoch asks. What a record teaches under `sft` is decided here, in one place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from camelid.data.pack import Example
from camelid.data.records import (
    Conversation,
    Labelled,
    Message,
    MessageTree,
    Origin,
    Preference,
    Ranked,
    Record,
    Rejection,
    Text,
    TreeMessage,
)
from camelid.data.render import Rendered, Renderer

ROWS_AT_ONCE = 256
REST = 9.0  # while nobody waits, the thread rests so many times as long as it worked: the cores are the training's


def teachings(record: Record) -> list[Conversation] | Text | str:
    """What supervised fine-tuning learns from a record: conversations, running text, or the reason why nothing.

    A preference teaches its chosen answer, a ranking its best one, a labelled row its answer if that is wanted, and a
    message tree every reply once, each in the context of the messages above it.
    """
    match record:
        case Conversation() | Text():
            return [record] if isinstance(record, Conversation) else record
        case Preference():
            return [Conversation((*record.prompt, *record.chosen), record.origin)]
        case Ranked():
            best = Message("assistant", record.answers[0])
            return [Conversation((*record.prompt, best), record.origin)]
        case Labelled():
            if not record.label:
                return "an unwanted answer (label false) teaches nothing under the objective sft"
            return [Conversation(record.messages, record.origin)]
        case MessageTree():
            return list(_tree_paths(record.root, (), record.origin))


def _tree_paths(node: TreeMessage, above: tuple[Message, ...], origin: Origin) -> Iterator[Conversation]:
    """One conversation per leaf; an answer that several leaves share is trained in the first of them only."""
    fresh = True
    path = (*above, node.message)
    if not node.replies:
        if any(m.role == "assistant" and m.trained is not False for m in path):
            yield Conversation(path, origin)
        return
    for reply in node.replies:
        for conversation in _tree_paths(reply, path, origin):
            if fresh:
                yield conversation
            else:
                seen = len(path)
                known = (replace(m, trained=False) for m in path)
                yield Conversation((*known, *conversation.messages[seen:]), origin)
            fresh = False


class Examples:
    """The rendered examples of each row, made ahead of use.

    `get(i)` blocks until row i is rendered and returns its examples: none if the row was rejected, several if it was
    split. A fault of the rendering thread is raised by the next `get`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        renderer: Renderer,
        order: Sequence[int] | np.ndarray,
        *,
        reject: Callable[[Rejection], None],
        distil: Mapping[int, float] | None = None,
    ) -> None:
        """`order`: rows in the order in which they will be asked for; `distil`: weight of the rows to distil."""
        self._distil = dict(distil or {})
        self.origins = [record.origin for record in records]
        self._records: list[Record | None] = list(records)
        self._renderer, self._reject = renderer, reject
        self._rendered: list[list[Example] | None] = [None] * len(records)
        self._ready = threading.Condition()
        self._fault: BaseException | None = None
        self._awaited = self._finishing = False  # somebody waits for a row; for all of them
        self._cancelled = False
        self._left = len(records)
        self._thread = threading.Thread(target=self._work, args=(np.asarray(order),), name="render", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self.origins)

    def get(self, row: int) -> list[Example]:
        """The examples of a row."""
        with self._ready:
            while (examples := self._rendered[row]) is None:
                if self._fault is not None:
                    raise self._fault
                self._awaited = True
                self._ready.notify_all()
                self._ready.wait()
            return examples

    def finish(self) -> None:
        """Wait until every row is rendered."""
        with self._ready:
            self._awaited = self._finishing = True
            self._ready.notify_all()
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    @property
    def finished(self) -> bool:
        """Whether every row has been rendered."""
        with self._ready:
            return self._left == 0

    def close(self) -> None:
        """Stop rendering; for an early end."""
        with self._ready:
            self._cancelled = True
            self._ready.notify_all()
        self._thread.join()

    def _work(self, order: np.ndarray) -> None:
        try:
            for start in range(0, len(order), ROWS_AT_ONCE):
                began = time.perf_counter()
                rows = order[start : start + ROWS_AT_ONCE].tolist()
                examples = self._render(rows)
                with self._ready:
                    for row, made in zip(rows, examples, strict=True):
                        self._rendered[row] = made
                        self._records[row] = None  # the text is not needed any more
                    self._left -= len(rows)
                    self._ready.notify_all()
                    if self._left:
                        self._rest(REST * (time.perf_counter() - began))
                    if self._cancelled:
                        return
        except BaseException as fault:  # handed to the thread that asks for rows
            with self._ready:
                self._fault = fault
                self._ready.notify_all()

    def _rest(self, seconds: float) -> None:
        """Leave the cores to the training, until somebody waits for a row."""
        self._awaited = self._finishing
        self._ready.wait_for(lambda: self._awaited or self._cancelled, seconds)

    def _render(self, rows: list[int]) -> list[list[Example]]:
        made: dict[int, list[Example]] = {row: [] for row in rows}
        conversations: list[Conversation] = []
        owners: list[int] = []
        for row in rows:
            record = self._records[row]
            assert record is not None, f"row {row} is rendered twice"
            taught = teachings(record)
            if isinstance(taught, str):
                self._reject(Rejection(record.origin.file, record.origin.line, taught))
            elif isinstance(taught, Text):
                made[row] = [self._example(part, row) for part in self._renderer.render_text(taught)]
            else:
                conversations += taught
                owners += [row] * len(taught)
        for row, parts in zip(owners, self._renderer.render_batch(conversations), strict=True):
            made[row] += [self._example(part, row) for part in parts]
        return [made[row] for row in rows]

    def _example(self, part: Rendered, row: int) -> Example:
        weight = part.trained.astype(np.float32) * np.float32(self._distil.get(row, 1.0))
        return Example(part.ids, weight, row, part.cut, distil=row in self._distil)


def flat_order(examples: Examples) -> list[Example]:
    """Every example in row order, for evaluation and pretraining, where a batch is counted in examples."""
    examples.finish()
    return [example for row in range(len(examples)) for example in examples.get(row)]
