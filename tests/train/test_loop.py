"""The loop: same numbers however the work is cut, stopped or resumed; and it stops where going on would be wrong."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from runs_for_tests import Finished, run, tiny_recipe

from camelid.data.pack import Example, pack_step
from camelid.errors import UserError
from camelid.runs.memory import HeapLimit, give_back_memory
from camelid.runs.metrics import read_metrics
from camelid.runs.report_run import read_facts
from camelid.runs.turning import best_evaluation, first_turn
from camelid.train import loop
from camelid.train.checkpoint import list_checkpoints
from camelid.train.distributed import World
from camelid.train.loop import NonFinite, row_loss
from camelid.train.setup import prepare


def _same(a: Finished, b: Finished) -> bool:
    return a.weights.keys() == b.weights.keys() and all(torch.equal(a.weights[n], b.weights[n]) for n in a.weights)


METHODS: list[dict[str, Any]] = [
    {"method": "lora"},
    {"method": "full", "learning_rate": 1e-3},
    {"method": "freeze", "freeze": {"trainable": ["layers.2.mlp"]}},
    {"method": "prompt", "learning_rate": 0.1},
    {"method": "ptuning", "prompt": {"encoder_dropout": 0.2}},
    {"method": "prefix", "prefix": {"encoder_hidden_size": 32}},
    {"method": "ptuning2", "learning_rate": 0.1},
    {"method": "ptuning2", "learning_rate": 0.1, "prefix": {"zero_gate": True}},
]


@pytest.mark.parametrize("fields", METHODS, ids=str)
def test_loss_falls(tmp_path: Path, fields: dict[str, Any]) -> None:
    losses = run(tiny_recipe(tmp_path, max_steps=12, **fields)).outcome.losses
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.parametrize(
    "fields",
    [
        *METHODS,
        {"method": "lora", "lora": {"lora_dropout": 0.3}, "neftune_noise_alpha": 5.0},
        {"method": "full", "optim": "adafactor"},
        {"method": "full", "optim": "muon", "lr_scheduler_type": "warmup_stable_decay"},
        {"method": "lora", "kl_to_base": 0.5, "label_smoothing_factor": 0.1},
        {"method": "full", "l2_to_start": 20.0},
        {"method": "ptuning2", "kl_to_base": 0.5, "gradient_checkpointing": True, "dtype": "bfloat16"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler")
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path, fields: dict[str, Any]) -> None:
    whole = run(tiny_recipe(tmp_path, output_dir=str(tmp_path / "whole"), **fields))
    recipe = tiny_recipe(tmp_path, output_dir=str(tmp_path / "halves"), **fields)
    first = run(recipe, stop_after=2)
    assert (first.outcome.step, first.outcome.stopped) == (2, "interrupted")
    assert not _same(whole, first)
    second = run(recipe)
    assert second.outcome.step == 4
    assert _same(whole, second)
    curves = [[row["loss"] for row in read_metrics(f.directory.metrics_file)] for f in (whole, second)]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 4


def test_every_row_is_watched_for_memory_and_giving_it_back_changes_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(tiny_recipe(tmp_path, output_dir=str(tmp_path / "plain"), max_steps=8))
    held, given_back = 0, 0

    def growing() -> int:
        nonlocal held
        held += 100 << 20
        return held

    def give_back() -> None:
        nonlocal given_back
        given_back += 1
        give_back_memory()

    monkeypatch.setattr(loop, "HeapLimit", lambda: HeapLimit(growing, give_back))
    watched = run(tiny_recipe(tmp_path, output_dir=str(tmp_path / "watched"), max_steps=8))
    assert given_back >= 1
    assert held >> 20 >= 8 * 2 * 100  # before and after each row, of which each step has at least one
    assert watched.outcome.losses == plain.outcome.losses
    assert _same(watched, plain)


def test_a_step_does_not_depend_on_how_its_rows_are_cut(tmp_path: Path) -> None:
    losses = []
    for i, fields in enumerate(
        [
            {"per_device_train_batch_size": 8},
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
            {"per_device_train_batch_size": 8, "max_tokens_per_row": 128},
            {"per_device_train_batch_size": 8, "layout": "separate"},
            {"per_device_train_batch_size": 8, "gradient_checkpointing": True},
        ]
    ):
        recipe = tiny_recipe(tmp_path, output_dir=str(tmp_path / f"run{i}"), **fields)
        losses.append(run(recipe).outcome.losses)
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], abs=1e-6 * losses[0][0], rel=0)


@pytest.mark.parametrize("layout", ["tree", "separate"])
def test_distilled_rows_among_others_give_what_they_give_alone(tmp_path: Path, layout: str) -> None:
    recipe = tiny_recipe(tmp_path, method="lora", layout=layout, kl_to_base=0.3)
    setup = prepare(recipe, World(), say=lambda line: None)
    setup.data.close()
    lm: Any = setup.trainable.lm

    def gradient(examples: list[Example]) -> tuple[float, torch.Tensor]:
        loss = sum(row_loss(setup, row) for row in pack_step(examples, recipe.row_tokens, share=layout == "tree"))
        assert isinstance(loss, torch.Tensor)
        parameters = list(setup.trainable.named_parameters().values())
        return float(loss.detach()), torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

    text = setup.data.of_step(0)
    distilled = [replace(example, distil=True, weight=example.weight * 2) for example in text[:3]]
    assert gradient(distilled)[0] == pytest.approx(0, abs=1e-4)  # a fresh adapter is the base
    torch.manual_seed(0)
    for name, parameter in lm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    together, both = gradient(text + distilled)
    alone = [gradient(text), gradient(distilled)]
    assert alone[1][0] > 0.1
    assert together == pytest.approx(alone[0][0] + alone[1][0], rel=1e-5)
    torch.testing.assert_close(both, alone[0][1] + alone[1][1], rtol=1e-3, atol=1e-4)
    # the oracle: KL between whole distributions
    with torch.no_grad():
        kl = 0.0
        for example in distilled:
            ids = torch.from_numpy(example.ids.astype("int64"))[None]
            lm.set_attn_implementation("sdpa")
            model = lm(input_ids=ids).logits[0].log_softmax(-1)
            assert setup.trainable.peft is not None
            with setup.trainable.peft.disable_adapter():  # PEFT's own switch is the oracle of ours
                base = lm(input_ids=ids).logits[0].log_softmax(-1)
            each = torch.nn.functional.kl_div(model, base, log_target=True, reduction="none").sum(-1)
            kl += float((each[:-1] * torch.from_numpy(example.weight[1:])).sum())
    assert alone[1][0] == pytest.approx(kl, rel=1e-4)


def test_evaluation_keeps_the_best_and_stops_early(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path,
        max_steps=60,
        method="full",
        learning_rate=3e-2,
        eval_fraction=0.3,
        eval_steps=2,
        early_stopping_patience=2,
        load_best_model_at_end=True,
        save_total_limit=1,
    )
    finished = run(recipe)
    outcome = finished.outcome
    assert outcome.stopped == "early"
    assert outcome.step < 60
    best_step, best_loss = min(outcome.eval_losses[1:], key=lambda pair: pair[1])  # the first is the base's
    assert (outcome.counters.best_step, outcome.counters.best_loss) == (best_step, best_loss)
    assert f"step-{best_step}" in [path.name for path in list_checkpoints(finished.directory.checkpoints)]
    assert any("stopping early" in line for line in finished.said)


def test_learning_by_heart_is_said_once_however_the_run_was_cut(tmp_path: Path) -> None:
    """Answers that nobody can know: the training loss falls, the held-out one turns."""
    digits = "3141592653589793238462643383279502884197"
    rows = [{"instruction": f"Say {i}", "output": digits[i : i + 3]} for i in range(32)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = tiny_recipe(
        tmp_path, max_steps=32, method="full", eval_fraction=0.3, eval_steps=4, lr_scheduler_type="constant"
    )
    whole = run(recipe)
    told = [line for line in whole.said if "learnt by heart" in line]
    turn = first_turn(whole.outcome.curves["loss"], whole.outcome.curves["eval_loss"])
    assert turn is not None
    assert 8 < turn.seen < 32
    assert len(told) == 1
    assert f"since step {turn.since} " in told[0]
    cut = recipe.model_copy(update={"output_dir": str(tmp_path / "cut")})
    parts = [run(cut, stop_after=turn.seen - 2), run(cut, stop_after=turn.seen + 1), run(cut)]
    assert [[line for line in part.said if "learnt by heart" in line] for part in parts] == [[], told, []]
    facts = read_facts(parts[2].directory)
    assert facts.warnings[0].en.startswith(f"From step {turn.since} on the held-out loss rose")
    best = best_evaluation(whole.outcome.curves["eval_loss"])
    assert best is not None
    assert f"The best evaluation was that of step {best.step} " in facts.warnings[1].en


@pytest.mark.parametrize(("warmup", "warned"), [(3, True), (2, False)])
def test_a_warm_up_that_never_ends_is_announced(tmp_path: Path, warmup: int, warned: bool) -> None:
    finished = run(tiny_recipe(tmp_path, max_steps=3, warmup_steps=warmup))
    assert any("never reaches its peak" in line for line in finished.said) == warned


def test_without_eval_steps_held_out_rows_are_measured_before_and_after(tmp_path: Path) -> None:
    finished = run(tiny_recipe(tmp_path, max_steps=3, eval_fraction=0.2))
    assert [step for step, _ in finished.outcome.eval_losses] == [0, 3]
    written = [row["step"] for row in read_metrics(finished.directory.metrics_file) if "eval_loss" in row]
    assert written == [0, 3]


@pytest.mark.parametrize(
    ("wanted", "steps"), [(0.2, [0, 2, 4, 6, 7]), (0.5, [0, 4, 7]), (0.01, list(range(8))), (3, [0, 3, 6, 7])]
)
def test_eval_steps_is_a_number_or_a_share_of_all_steps(tmp_path: Path, wanted: float, steps: list[int]) -> None:
    finished = run(tiny_recipe(tmp_path, max_steps=7, eval_fraction=0.2, eval_steps=wanted))
    assert [step for step, _ in finished.outcome.eval_losses] == steps
    rows = [row for row in read_metrics(finished.directory.metrics_file) if "eval_loss" in row]
    assert [row["progress"] for row in rows] == [step / 7 for step in steps]


def test_too_many_rows_that_cannot_be_rendered_stop_the_run(tmp_path: Path) -> None:
    rows = [{"instruction": "Say it.", "output": "word " * (300 if i % 4 == 0 else 3)} for i in range(24)]
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    recipe = tiny_recipe(tmp_path, data=str(tmp_path / "long.jsonl"), cut="drop", max_steps=200)
    with pytest.raises(UserError, match=r"6 of 24 rows rejected \(25.0%, allowed 1.0%\)"):
        run(recipe)
    allowed = {"max_rejected": 0.5, "max_steps": 2, "output_dir": str(tmp_path / "allowed")}
    assert run(recipe.model_copy(update=allowed)).outcome.step == 2


def test_a_loss_that_is_no_number_stops_before_the_step_and_names_the_rows(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, max_steps=2)

    def poison(setup: Any) -> None:
        with torch.no_grad():
            next(iter(setup.trainable.named_parameters().values())).fill_(torch.nan)

    with pytest.raises(NonFinite, match=r"rows\.jsonl:\d+.*loss of step 1 is nan; nothing of this step was applied"):
        run(recipe, hook=poison)
    assert not list_checkpoints(Path(recipe.output_dir) / "checkpoints")
    assert not read_metrics(Path(recipe.output_dir) / "metrics.jsonl")


def test_a_gradient_that_is_no_number_stops_before_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(tmp_path)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: torch.tensor(float("inf")))
    with pytest.raises(NonFinite, match="gradient of step 1 is not finite"):
        run(recipe)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    whole = run(tiny_recipe(tmp_path, output_dir=str(tmp_path / "whole"), max_tokens_per_row=128))
    recipe = tiny_recipe(tmp_path, max_tokens_per_row=128)
    real, calls = loop.row_loss, []

    def struck(setup: Any, row: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:  # in the middle of a step
            os.kill(os.getpid(), number)
        return real(setup, row)

    monkeypatch.setattr(loop, "row_loss", struck)
    first = run(recipe)
    assert first.outcome.stopped == "interrupted"
    assert 0 < first.outcome.step < 4
    monkeypatch.setattr(loop, "row_loss", real)
    assert _same(whole, run(recipe))


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    good = {"instruction": "Sort 2, 1", "output": "1, 2"}
    bad = {"instruction": "nothing to learn", "output": ""}
    rows.write_text("\n".join(json.dumps(bad if i % 3 == 0 else good) for i in range(9)))
    finished = run(tiny_recipe(tmp_path, max_rejected=0.5))
    ledger = finished.setup.data.ledger
    assert (ledger.read, ledger.kept, ledger.rejected) == (9, 6, 3)


def test_pretraining_counts_windows(tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("The capital of France is Paris. 你好，今天天气怎么样？\n" * 60, encoding="utf-8")
    recipe = tiny_recipe(
        tmp_path, data=str(text), objective="pretrain", method="full", from_scratch=True, max_length=32,
        learning_rate=3e-3, max_steps=8,
    )  # fmt: skip
    finished = run(recipe)
    assert isinstance(finished.setup.data.units, list)
    assert max(len(example.ids) for example in finished.setup.data.units) <= 32
    assert finished.outcome.losses[-1] < finished.outcome.losses[0] - 0.2
