"""`camelid eval` of a model that writes: its loss on rows of yours, and what of general text and questions is left."""

from __future__ import annotations

import math
from typing import Any

from camelid.cli.console import print_json, say
from camelid.cli.retention import changes, tell
from camelid.data.examples import Examples, flat_order
from camelid.data.ledger import Ledger
from camelid.data.pack import EVALUATION_ROW_TOKENS, pack_step
from camelid.data.render import Renderer
from camelid.data.sources import read_records
from camelid.data.templates import template_for
from camelid.errors import UserError
from camelid.evaluate.general import General, measure_general
from camelid.generate.local import LiveGenerator
from camelid.model.adapters import Trainable
from camelid.model.heldout import held_out_nll
from camelid.model.load import trained_to_answer
from camelid.model.resolve import Source
from camelid.model.tuned import load_tuned
from camelid.runs.interval import Share


def evaluate_chat(
    source: Source, data: str | None, *, template: str, max_length: int, scale: float, as_json: bool
) -> int:
    """Measure MODEL; the exit code."""
    tuned, vocabulary, layout = load_tuned(source, scale=scale, announce=say)
    ledger = Ledger()
    renderer = Renderer(
        vocabulary, template_for(template, vocabulary, announce=say), max_length, on_reject=ledger.reject
    )
    found: dict[str, Any] = {"model": source.label, "adapter_scale": scale}
    if data is not None:
        found |= {"data": data, **_on_rows(tuned, renderer, layout, data, ledger)}
        say(f"{data}: loss {found['loss']:.4f}, perplexity {found['perplexity']:.2f} over {found['tokens']:,} tokens")
    say("measuring general text and plain questions ...")
    generator = LiveGenerator(tuned.lm, renderer, layout=layout)
    answers = trained_to_answer(source)
    now = measure_general(generator, questions=True, answers=answers)
    if tuned.has_adapter:
        with tuned.without_adapter():
            before = measure_general(generator, questions=True, answers=answers)
        found["retention"] = changes(before, now)
        tell(found["retention"], say)
    else:
        found["general"] = _alone(now)
        for language, value in found["general"]["perplexity"].items():
            say(f"general text ({language}), perplexity: {value:.2f}")
        say(f"plain questions: {len(now.right)} of {now.asked} right")
        for language, (right, asked) in now.skills.items():
            say(f"short tasks ({language}): {Share(right, asked)}")
    if as_json:
        print_json(found)
    return 0


def _on_rows(tuned: Trainable, renderer: Renderer, layout: str, data: str, ledger: Ledger) -> dict[str, Any]:
    """Mean loss over the tokens that the rows would teach."""
    records = list(read_records(data, seed=0, ledger=ledger, announce=say))
    examples = Examples(records, renderer, range(len(records)), reject=ledger.reject)
    rows = pack_step(flat_order(examples), max(EVALUATION_ROW_TOKENS, renderer.max_length))
    examples.close()
    total, weight = held_out_nll(tuned.lm, rows, layout)
    if not weight:
        raise UserError(f"none of its rows can be used: {ledger.top_reasons()}", where=data)
    loss = total / weight
    figures = {"read": ledger.read, "kept": ledger.kept, "rejected": ledger.rejected}
    return {"loss": loss, "perplexity": math.exp(loss), "tokens": round(weight), "rows": figures}


def _alone(now: General) -> dict[str, Any]:
    """The figures of a model that has no base to be compared with."""
    perplexity = {
        language: math.exp(sum(nats for nats, _ in pairs) / sum(tokens for _, tokens in pairs))
        for language, pairs in now.text.items()
    }
    skills = {language: {"right": right, "asked": asked} for language, (right, asked) in now.skills.items()}
    plain = {"right": len(now.right), "asked": now.asked}
    return {"perplexity": perplexity, "plain_questions": plain, "skills": skills}
