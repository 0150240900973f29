"""`camelid verify`: the project's own proofs, run on the user's base, data and settings.

* render parity: the prompt that training puts before an answer is, id for id, what transformers' apply_chat_template
  makes, so any server that renders with it sends the model what it was trained on;
* tree = separate: loss and gradients of packed trees equal those of the separate rows (float32);
* resumed = uninterrupted: a run that is stopped and resumed ends with the same weights, bit for bit;
* saved = trained: what is in `final/` is what was trained, and merging a LoRA adapter does not change the answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from camelid.cli.console import print_json, quiet, say
from camelid.cli.train import opened_run
from camelid.config import Recipe, load_recipe
from camelid.data.pack import pack_step
from camelid.data.records import Conversation, Record
from camelid.data.render import Renderer
from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.templates.shape import plain_messages
from camelid.errors import UserError
from camelid.model.class_head import learnt_of
from camelid.model.layout import hidden_states, ordinary_attention
from camelid.model.load import tokenizer_directory
from camelid.model.merge import merged
from camelid.runs.directory import RunDirectory
from camelid.train.data import read_rows
from camelid.train.distributed import World
from camelid.train.finish import save_final
from camelid.train.interrupt import Interrupts
from camelid.train.loop import SilentProgress, train
from camelid.train.setup import Setup, prepare

STEPS = 4
_LOSS_BOUND, _GRADIENT_BOUND, _MERGE_BOUND = 1e-5, 1e-4, 1e-3


@dataclass(frozen=True)
class Check:
    """One proof: its name, whether it holds, and the figures."""

    name: str
    holds: bool
    detail: str


def verify(subject: Path, overrides: Sequence[str], *, rows: int, as_json: bool) -> int:
    """Run every check; exit code 2 if one fails."""
    recipe = _recipe(subject, overrides)
    checks = []
    with tempfile.TemporaryDirectory(prefix="camelid-verify-") as scratch:
        small = _small(recipe, rows, Path(scratch))
        for check in (_render_parity, _tree_equals_separate, _resume_and_save):
            for result in check(small):
                checks.append(result)
                say(f"{'PASS' if result.holds else 'FAIL'}  {result.name}: {result.detail}")
    failed = [check.name for check in checks if not check.holds]
    if as_json:
        print_json({"holds": not failed, "checks": [asdict(check) for check in checks]})
    if failed:
        raise UserError(f"{len(failed)} of {len(checks)} checks failed ({', '.join(failed)})", where=str(subject))
    return 0


def _recipe(subject: Path, overrides: Sequence[str]) -> Recipe:
    """The recipe of a run directory, or a recipe file."""
    if subject.is_dir():
        return load_recipe(RunDirectory.open(subject).recipe_file, overrides)
    return load_recipe(subject, overrides)


def _small(recipe: Recipe, rows: int, scratch: Path) -> Recipe:
    """The same recipe on few rows and steps, in a directory of its own, without an evaluation."""
    changes = {
        "output_dir": str(scratch / "run"),
        "resume": "auto",
        "max_steps": STEPS,
        "per_device_train_batch_size": max(1, rows // STEPS),
        "gradient_accumulation_steps": 1,
        "max_rejected": 1.0,
        "eval_data": None,
        "eval_fraction": 0.0,
        "eval_steps": None,
        "save_steps": None,
        "early_stopping_patience": None,
        "load_best_model_at_end": False,
    }
    return recipe.model_copy(update=changes)


def _render_parity(recipe: Recipe) -> list[Check]:
    """Ids before each answer, against transformers' own rendering of the same template."""
    from transformers import PreTrainedTokenizerFast

    if recipe.task != "chat":
        return []  # its rows are labelled text, read without a template or put into a question of ours
    records, renderer, source = read_rows(recipe, say=quiet)
    conversations = [r for r in records if isinstance(r, Conversation)][: recipe.per_device_train_batch_size * STEPS]
    if not conversations:
        return []
    theirs = PreTrainedTokenizerFast.from_pretrained(tokenizer_directory(source))
    template = renderer.template
    assert isinstance(template, JinjaTemplate)
    compared, differing, first = 0, 0, ""
    for conversation in conversations:
        for i, message in enumerate(conversation.messages):
            if message.role != "assistant" or i == 0:
                continue
            prompt = Conversation(conversation.messages[:i], conversation.origin, conversation.tools)
            expected = _apply_chat_template(theirs, template, prompt)
            ours = renderer.prompt(prompt).tolist()
            compared += 1
            if ours != expected:
                differing += 1
                first = first or f"; first at {conversation.origin.file}:{conversation.origin.line}"
    detail = f"{compared} prompts, {differing} differ from apply_chat_template{first}"
    inside = _prompts_begin_rows(renderer, conversations)
    return [
        Check("render parity", differing == 0, detail),
        Check("prompt = beginning of the trained row", inside == 0, f"{len(conversations)} rows, {inside} differ"),
    ]


def _apply_chat_template(tokenizer: Any, template: JinjaTemplate, prompt: Conversation) -> list[int]:
    text = tokenizer.apply_chat_template(
        plain_messages(prompt, splits_input=template.splits_input),
        tools=list(prompt.tools) or None,
        chat_template=template.tool_source if prompt.tools and template.tool_source else template.source,
        add_generation_prompt=True,
        tokenize=False,
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _prompts_begin_rows(renderer: Renderer, conversations: Sequence[Record]) -> int:
    """Rows whose ids do not begin with the prompt of their first answer."""
    wrong = 0
    for conversation in conversations:
        assert isinstance(conversation, Conversation)
        answers = [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
        parts = renderer.render(conversation)
        if not answers or answers[0] == 0 or len(parts) != 1 or parts[0].cut:
            continue
        head = Conversation(conversation.messages[: answers[0]], conversation.origin, conversation.tools)
        prompt = renderer.prompt(head)
        wrong += parts[0].ids[: len(prompt)].tolist() != prompt.tolist()
    return wrong


def _tree_equals_separate(recipe: Recipe) -> list[Check]:
    """Summed loss and gradients of one step, both layouts, in float32 without dropout."""
    exact = recipe.model_copy(update={"dtype": "float32", "layout": "tree", "neftune_noise_alpha": 0.0})
    setup = prepare(exact, World(), say=quiet)
    try:
        if setup.layout != "tree":
            return [Check("tree = separate", True, "this base trains on separate rows, so there is nothing to compare")]
        setup.trainable.lm.eval()
        _randomise_adapter(setup)
        examples = setup.data.of_step(0)
        shared, shared_gradient = _loss_and_gradient(setup, pack_step(examples, exact.row_tokens), "tree")
        setup.trainable.lm.set_attn_implementation(ordinary_attention(setup.trainable.lm))  # type: ignore[operator]
        alone_rows = [row for example in examples for row in pack_step([example], exact.row_tokens, share=False)]
        alone, alone_gradient = _loss_and_gradient(setup, alone_rows, "separate")
    finally:
        setup.data.close()
    loss_error = abs(shared - alone) / abs(alone)
    gradient_error = float((shared_gradient - alone_gradient).norm() / alone_gradient.norm())
    holds = loss_error <= _LOSS_BOUND and gradient_error <= _GRADIENT_BOUND
    detail = f"{len(examples)} rows: loss differs by {loss_error:.1e}, gradient by {gradient_error:.1e} (relative)"
    return [Check("tree = separate", holds, detail)]


def _randomise_adapter(setup: Setup) -> None:
    """A fresh adapter is zero, and half of its gradient with it; the comparison wants every gradient to count."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in setup.trainable.named_parameters().items():
            if "lora_B" in name or "virtual_tokens.gates" in name:
                parameter.normal_(std=0.02)


def _loss_and_gradient(setup: Setup, rows: Sequence[Any], layout: str) -> tuple[float, torch.Tensor]:
    parameters = setup.trainable.named_parameters()
    total = 0.0
    for row in rows:
        lm = setup.trainable.lm
        loss = setup.objective(learnt_of(lm, hidden_states(lm, row.tree, layout), row))
        loss.backward()
        total += float(loss.detach())
    flat = torch.cat([p.grad.flatten() for p in parameters.values() if p.grad is not None])
    for parameter in parameters.values():
        parameter.grad = None
    return total, flat


def _resume_and_save(recipe: Recipe) -> list[Check]:
    """Train a few steps in one go and in two; then save, reload and merge."""
    with Interrupts(notice="") as interrupts:
        whole = _weights_after(recipe, "whole", interrupts, None)
        _weights_after(recipe, "halves", interrupts, STEPS // 2)
        halves = _weights_after(recipe, "halves", interrupts, None)
        different = [name for name in whole if not torch.equal(whole[name], halves[name])]
        checks = [
            Check(
                "resumed = uninterrupted",
                not different,
                f"{STEPS} steps in one go and resumed after {STEPS // 2}: "
                f"{len(different)} of {len(whole)} tensors differ",
            )
        ]
        checks += _saved(recipe.model_copy(update={"output_dir": f"{recipe.output_dir}-whole"}), interrupts)
    return checks


def _weights_after(
    recipe: Recipe, name: str, interrupts: Interrupts, stop_after: int | None
) -> dict[str, torch.Tensor]:
    """Weights at the end of a run in its own directory; `stop_after` ends it early, as a signal would."""
    own = recipe.model_copy(update={"output_dir": f"{recipe.output_dir}-{name}"})
    with opened_run(own, World(), interrupts, speak=quiet) as run:
        progress = SilentProgress()
        train(run.setup, run.directory, progress, interrupts, run.checkpoint, stop_after=stop_after)
        return {name: p.detach().clone() for name, p in run.setup.trainable.named_parameters().items()}


def _saved(recipe: Recipe, interrupts: Interrupts) -> list[Check]:
    """Reload `final/`, and merge the adapter."""
    with opened_run(recipe, World(), interrupts, speak=quiet) as run:
        train(run.setup, run.directory, SilentProgress(), interrupts, run.checkpoint)
        saved = save_final(run.setup, run.directory)
        checks = [Check("saved = trained", True, saved.check)]
        peft = run.setup.trainable.peft
        if peft is None:
            return checks
        lm = run.setup.trainable.lm.float()
        tree = pack_step(run.setup.data.of_step(0)[:4], recipe.row_tokens, share=run.setup.layout == "tree")[0].tree
        with torch.no_grad():
            unmerged = hidden_states(lm, tree, run.setup.layout).float()
            with merged(peft):
                inside = hidden_states(lm, tree, run.setup.layout).float()
            exact = torch.equal(hidden_states(lm, tree, run.setup.layout).float(), unmerged)
        error = float((inside - unmerged).abs().max() / unmerged.abs().max())
        detail = f"hidden states differ by {error:.1e}; unmerged again they are {'the same' if exact else 'OTHERS'}"
        return [*checks, Check("merged = unmerged", error <= _MERGE_BOUND and exact, detail)]
