"""What the verbs that make data with a teacher share: output, teacher and journal, and what is said at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.cli.data.results import say_asked, tell
from camelid.cli.data.teacher import Desk, going_on, open_desk, unfinished
from camelid.cli.data.teacher_options import TeacherOptions
from camelid.data.factory.output import Output
from camelid.errors import UserError
from camelid.runs.meter import Meter


@dataclass
class Lesson:
    """A data set that is being made with a teacher."""

    verb: str
    out: Output
    desk: Desk
    journal_file: Path

    @contextmanager
    def meter(self, what: str, share: Callable[[], float]) -> Iterator[Meter]:
        """Counts what is done, and says meanwhile what is heard of the teacher: an answer may take minutes."""
        journal, watch = self.desk.journal, self.desk.watch

        def note() -> str:
            return f"{journal.asked:,} answers" + (f", {watch.pieces:,} tokens" if watch.pieces else "")

        with Meter(what, share, note) as meter:
            watch.then = lambda: meter.step(0)
            try:
                yield meter
            finally:
                watch.then = lambda: None

    def end(
        self,
        options: Mapping[str, Any],
        inputs: Iterable[Path],
        *,
        as_json: bool,
        what: str = "rows",
        ended: str = "",
        **more: Any,
    ) -> int:
        """Put the files into their places and say what came of it. ended: why before it was through, "" if it was

        Raises UserError where no row could be kept.
        """
        out, summary = self.out, self.desk.summary()
        if not out.written:
            raise UserError(
                f"nothing could be kept, of {out.read:,} {what}: {out.commonest()}",
                where=self.desk.name,
                mend=f"see what it said in {self.journal_file}; perhaps a stronger teacher",
            )
        ended = ended or self.desk.ask.ended
        manifest = out.finish(self.verb, options, inputs, ended=ended or "complete", **more, teacher=summary)
        tell(manifest, out, as_json=as_json, what=what)
        if not as_json:
            say_asked(ended, summary)
        return 0


@contextmanager
def lesson(verb: str, output: Path, teacher: TeacherOptions, *, seed: int, overwrite: bool) -> Iterator[Lesson]:
    """What an earlier run of the verb left before it was through is gone on with. Raises UserError."""
    journal_file = output.with_suffix(".journal.jsonl")
    with (
        Output(output, overwrite=overwrite or unfinished(output, verb)) as out,
        going_on(journal_file),
        open_desk(teacher, journal_file, seed=seed) as desk,
    ):
        yield Lesson(verb, out, desk, journal_file)
