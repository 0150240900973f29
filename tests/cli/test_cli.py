"""The program as a user meets it: exit codes, one-line faults, and what each verb leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from program import camelid, recipe_file
from tiny import tiny_base
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from camelid.cli.console import quiet
from camelid.cli.main import app
from camelid.cli.train import opened_run
from camelid.config import load_recipe
from camelid.model.precision import Measurement
from camelid.runs.metrics import read_metrics
from camelid.train import setup as preparation
from camelid.train.checkpoint import list_checkpoints
from camelid.train.distributed import World
from camelid.train.interrupt import Interrupts
from camelid.train.loop import SilentProgress, train


def test_train_then_chat(tmp_path: Path) -> None:
    code, out, err = camelid("train", recipe_file(tmp_path, eval_fraction=0.2, eval_steps=1), "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["rows"] == {"read": 24, "kept": 24, "rejected": 0}
    assert (summary["steps"], summary["stopped"]) == (3, "done")
    assert summary["computed_tokens"] < summary["useful_tokens"]
    assert "24 read = 24 kept + 0 rejected" in err
    run = tmp_path / "run"
    for name in ("recipe.yaml", "manifest.json", "metrics.jsonl", "rejected.jsonl", "report.html", "final"):
        assert (run / name).exists(), name
    code, out, err = camelid("chat", run, "--prompt", "你好", "--max-new-tokens", "5", "--json")
    assert code == 0, err
    assert json.loads(out)["completion_tokens"] <= 5
    code, out, err = camelid("chat", run, "--prompt", "Sort 3, 1", "--max-new-tokens", "4", "--compare")
    assert code == 0, err
    assert out.startswith("base:")
    assert "tuned:" in out


def test_final_loads_with_plain_peft_and_transformers(tmp_path: Path) -> None:
    """Shows 10: equal logits through PEFT and transformers alone."""
    ids = torch.tensor([[3, 9, 27, 81]])
    for method in ("lora", "full"):
        folder = tmp_path / method
        folder.mkdir()
        code, _, err = camelid("train", recipe_file(folder, method=method))
        assert code == 0, err
        code, ours, err = camelid("chat", folder / "run", "--prompt", "hello", "--max-new-tokens", "8")
        assert code == 0, err
        final = folder / "run" / "final"
        if method == "lora":
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base()), str(final))
        else:
            model = AutoModelForCausalLM.from_pretrained(final)
        base = AutoModelForCausalLM.from_pretrained(tiny_base())
        with torch.no_grad():
            assert (model(input_ids=ids).logits - base(input_ids=ids).logits).abs().max() > 1e-3
        assert ours.strip() or ours == "\n"


FAULTS = {
    "missing recipe": (["train", "nowhere.yaml"], "no such recipe"),
    "unknown key": (["train", "RECIPE", "learning_rat=1"], "did you mean 'learning_rate'"),
    "wrong template": (["train", "RECIPE", "template=alpacca"], "alpaca"),
    "missing data": (["train", "RECIPE", "data=nowhere.jsonl"], "nowhere.jsonl"),
    "missing base": (["train", "RECIPE", "base=smolm2"], "smollm2"),
    "empty data": (["train", "RECIPE", "data=EMPTY"], "empty"),
    "too many rejected": (["train", "RECIPE", "data=BAD"], "max_rejected"),
    "base without an end token": (["train", "RECIPE", "base=NOEND"], "end token"),
    "cut GGUF": (["train", "RECIPE", "base=CUT"], "cut"),
    "licence not accepted": (["train", "RECIPE", "base=gemma3-270m"], "accept_license=gemma"),
    "no model to chat with": (["chat", "nowhere/model"], "nowhere/model"),
    "nothing to compare": (["chat", "BASE", "--compare", "--prompt", "x"], "--compare"),
    "too long a prompt": (["chat", "BASE", "--prompt", "x", "--max-new-tokens", "9999"], "context is 4096"),
    "no run to verify": (["verify", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", FAULTS, ids=lambda c: c.replace(" ", "-"))
def test_faults_of_the_user_are_exit_2_and_one_line(case: str, tmp_path: Path) -> None:
    arguments, expected = FAULTS[case]
    (tmp_path / "empty.jsonl").write_text("")
    rows = [{"instruction": "x", "output": "y" if i % 2 else ""} for i in range(10)]
    (tmp_path / "bad.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    no_end = tmp_path / "no_end"
    shutil.copytree(tiny_base(), no_end)
    config = json.loads((no_end / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (no_end / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (9).to_bytes(8, "little"))
    named = {
        "RECIPE": recipe_file(tmp_path),
        "data=EMPTY": f"data={tmp_path / 'empty.jsonl'}",
        "data=BAD": f"data={tmp_path / 'bad.jsonl'}",
        "base=NOEND": f"base={no_end}",
        "base=CUT": f"base={tmp_path / 'cut.gguf'}",
        "BASE": tiny_base(),
    }
    code, out, err = camelid(*(named.get(a, a) for a in arguments))
    faults = [line for line in err.splitlines() if line.startswith("camelid: ")]
    assert code == 2, err
    assert len(faults) == 1
    assert err.splitlines()[-1] == faults[0]
    assert expected in faults[0]
    assert "Traceback" not in err + out


def test_a_fault_of_ours_is_exit_1_and_debug_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import camelid.cli.train as module

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "train_loop", broken)
    code, _, err = camelid("train", recipe_file(tmp_path))
    assert code == 1
    assert "a fault of ours: ZeroDivisionError: a bug" in err
    shutil.rmtree(tmp_path / "run")
    result = CliRunner().invoke(app, ["train", str(recipe_file(tmp_path)), "--debug"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_run_goes_on_in_the_type_and_at_the_time_that_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast this machine is today, and whatever the date is."""
    base = tiny_base()
    dated = tmp_path / "base"
    shutil.copytree(base, dated)
    settings = json.loads((dated / "tokenizer_config.json").read_text("utf-8"))
    settings["chat_template"] = (
        "{{ strftime_now('%Y-%m-%dT%H:%M:%S') }}\n{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content "
        "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    (dated / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    recipe = load_recipe(recipe_file(tmp_path, base=str(dated), dtype="auto"))
    seen = []
    for faster, stop_after in ((torch.bfloat16, 1), (torch.float32, None)):
        measured = Measurement(faster, 1.0, 2.0)
        monkeypatch.setattr(preparation, "measure_compute_dtype", lambda device, measured=measured: measured)
        with Interrupts(notice="") as interrupts, opened_run(recipe, World(), interrupts, speak=quiet) as run:
            train(run.setup, run.directory, SilentProgress(), interrupts, run.checkpoint, stop_after=stop_after)
            ids = run.setup.data.of_step(0)[0].ids.tolist()
            seen.append((run.setup.dtype, run.setup.data.renderer.template.now, ids))
        time.sleep(1.1)
    assert seen[0] == seen[1]
    assert seen[0][0] == torch.bfloat16


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_tuned_run_is_a_base(tmp_path: Path, method: str) -> None:
    recipe = recipe_file(tmp_path)
    assert camelid("train", recipe)[0] == 0
    base = f"base={tmp_path / 'run'}"
    where = f"output_dir={tmp_path / 'second'}"
    code, _, err = camelid("train", recipe, base, where, f"method={method}", "learning_rate=1e-3")
    assert code == 0, err
    first, second = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("run", "second"))
    assert second[0]["loss"] < first[-1]["loss"] + 0.2 < first[0]["loss"]  # it begins where the first ended
    final = tmp_path / "second" / "final"
    if method == "lora":
        assert json.loads((final / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == str(
            tiny_base()
        )
        code, _, err = camelid("train", recipe, base, f"output_dir={tmp_path / 'third'}", "lora.r=4")
        assert (code, "lora.r is 4, but the base is an adapter with r 8" in err) == (2, True)
    assert camelid("inspect", recipe, base)[0] == 0
    code, _, err = camelid("chat", str(tmp_path / "second"), "--prompt", "请把数字4说出来")
    assert code == 0, err


def test_inspect_counts_what_is_trained(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    recipe = recipe_file(tmp_path)
    code, out, err = camelid("inspect", recipe, "--html", page, "--json")
    assert code == 0, err
    (counts,) = json.loads(out)["steps"]
    assert counts["examples"] == 6
    assert counts["trained_tokens"] + counts["context_tokens"] == counts["computed_tokens"] < counts["useful_tokens"]
    text = page.read_text(encoding="utf-8")
    assert 'class="trained"' in text
    assert "&lt;|im_end|&gt;" in text, "control tokens are shown, escaped"
    code, out, _ = camelid("inspect", recipe)
    assert code == 0
    assert "shared" in out


def test_verify_passes_and_finds_a_planted_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_file(tmp_path)
    code, out, err = camelid("verify", recipe, "--rows", "8", "--json")
    assert code == 0, err
    result = json.loads(out)
    names = {check["name"] for check in result["checks"]}
    assert names >= {
        "render parity",
        "tree = separate",
        "resumed = uninterrupted",
        "saved = trained",
        "merged = unmerged",
    }
    from camelid.model import attend

    monkeypatch.setattr(attend, "SCORES_A_BLOCK", -1_000_000)  # each branch by itself
    monkeypatch.setattr(attend, "_merge", lambda intervals: intervals[-1:])  # a branch forgets its ancestors
    code, out, err = camelid("verify", recipe, "--rows", "8")
    assert code == 2 or "separate rows" in err


@pytest.mark.parametrize("template", ["alpaca", "chatml", "vicuna"])
def test_verify_renders_inputs_and_tools_as_training_does(tmp_path: Path, template: str) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    rows = [{"instruction": "Add.", "input": f"{i} and 2", "output": str(i + 2)} for i in range(9)]
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    talk = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "3"},
    ]
    (tmp_path / "tools.jsonl").write_text(json.dumps({"messages": talk}) + "\n", encoding="utf-8")
    data = [str(tmp_path / "inputs.jsonl"), *([str(tmp_path / "tools.jsonl")] if template == "chatml" else [])]
    recipe = recipe_file(tmp_path, data=data, template=template)
    code, out, err = camelid("verify", recipe, "--rows", "12", "--json")
    assert code == 0, err
    parity = json.loads(out)["checks"][0]
    assert (parity["name"], parity["holds"]) == ("render parity", True)
    assert parity["detail"].startswith("11 prompts" if template == "chatml" else "9 prompts")


def test_python_m_camelid_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "camelid", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "camelid")


def test_schema_doctor_version_and_help() -> None:
    code, out, _ = camelid("schema")
    assert code == 0
    assert "learning_rate" in json.loads(out)["properties"]
    code, out, _ = camelid("doctor", "--json")
    assert code == 0
    assert {"camelid", "packages", "hardware", "bases"} <= json.loads(out).keys()
    code, out, _ = camelid("--version")
    assert (code, out.split()[0]) == (0, "camelid")
    code, out, _ = camelid("--help")
    assert code == 0
    assert all(verb in out for verb in ("quickstart", "train", "inspect", "verify", "chat", "schema", "doctor"))


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_exits_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    recipe = recipe_file(tmp_path, max_steps=4000, save_steps=1000)
    command = [sys.executable, "-m", "camelid.cli.main", "train", str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size > 500):
        assert time.monotonic() < deadline, "the run does not start"
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == expected, err
    assert "saved after step" in err
    assert list_checkpoints(tmp_path / "run" / "checkpoints")
