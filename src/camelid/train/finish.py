"""Write the result, read it back, and only then call it done.

`final/` is a plain PEFT adapter or Hugging Face model directory with tokenizer and chat template, loadable by PEFT,
transformers, vLLM and TGI. What was written is compared with what is in memory, tensor by tensor and by its logits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import get_peft_model_state_dict
from torch import Tensor

from camelid.data.tree import TokenTree, build_tree
from camelid.errors import UserError
from camelid.model.bars import no_progress_bars
from camelid.model.classifier_files import (
    adapter_without_head,
    add_head_to_file,
    classifier_difference,
    classifier_state,
    name_task,
    save_classifier,
    saved_head,
)
from camelid.model.layout import hidden_states, ordinary_attention
from camelid.model.load import tokenizer_directory
from camelid.model.resolve import ADAPTER_FILE
from camelid.model.tokenizer_files import write_tokenizer
from camelid.model.virtual_tokens import attach, load_virtual_tokens
from camelid.runs.directory import RunDirectory
from camelid.train.setup import Setup
from camelid.train.tensor_file import NotATensorFile, first_difference

_PROBE = "The quick brown fox jumps over the lazy dog. 敏捷的棕色狐狸跳过懒狗。"
BASE_FILE = "trained_on.json"  # in which precision the base was when an adapter was trained on it quantised


@dataclass(frozen=True)
class Saved:
    """What was written and how it was checked, in one line."""

    directory: Path
    tensors: int
    bytes: int
    check: str


def save_final(setup: Setup, run: RunDirectory) -> Saved:
    """Write `final/` and prove it. Raises UserError if what is on disk is not what was trained."""
    setup.trainable.lm.eval()
    with run.writing_final() as staging:
        _write(setup, staging)
        saved = _verify(setup, staging)
    return Saved(run.final, saved.tensors, saved.bytes, saved.check)


def _write(setup: Setup, directory: Path) -> None:
    peft, virtual, lm = setup.trainable.peft, setup.trainable.virtual, setup.trainable.lm
    info = setup.data.task
    if setup.data.asked is not None:
        setup.data.asked.info.save(directory)
    if info is not None:
        info.save(directory)
        if setup.trainable.config is not None:
            name_task(setup.trainable.config, info)
    if virtual is not None:
        virtual.save(directory, _named_base(setup) or str(virtual.config.base_model_name_or_path))
    elif peft is not None:
        config = peft.peft_config["default"]
        config.base_model_name_or_path = _named_base(setup) or config.base_model_name_or_path
        config.inference_mode = True
        # not "auto": to decide, PEFT would look for the base's configuration on the hub
        peft.save_pretrained(str(directory), safe_serialization=True, save_embedding_layers=False)
        (directory / "README.md").unlink(missing_ok=True)  # PEFT's empty form; the run's report says more
    elif info is not None:
        save_classifier(lm, info, directory)
    else:
        attention = lm.config._attn_implementation  # type: ignore[union-attr]
        lm.set_attn_implementation(ordinary_attention(lm))  # type: ignore[operator]
        with no_progress_bars():
            lm.save_pretrained(str(directory), safe_serialization=True)  # type: ignore[operator]
        lm.set_attn_implementation(attention)  # type: ignore[operator]
    if info is not None and setup.trainable.has_adapter:
        add_head_to_file(lm, directory / ADAPTER_FILE, layered=peft is not None)
    if setup.recipe.quantization != "none":
        # beside the adapter's configuration: PEFT warns of each key in it that it does not know
        trained_on = {
            "base": setup.source.label,
            "quantization": setup.recipe.quantization,
            "dtype": str(setup.dtype).removeprefix("torch."),
        }
        text = json.dumps(trained_on, ensure_ascii=False, indent=1)
        (directory / BASE_FILE).write_text(text + "\n", encoding="utf-8")
    write_tokenizer(tokenizer_directory(setup.source), directory, setup.data.renderer.template.source)


def _named_base(setup: Setup) -> str | None:
    """What an adapter calls its base: a preset's or hub's name as it is, a path made absolute.

    None for an adapter that was trained on, which names its base already.
    """
    if setup.source.adapter_directory is not None and not setup.recipe.from_scratch:
        return None
    path = Path(setup.recipe.base)
    return str(path.resolve()) if path.exists() else setup.recipe.base


def _verify(setup: Setup, directory: Path) -> Saved:
    files = sorted(directory.glob("*.safetensors"))
    live = _live_tensors(setup)
    names: set[str] = set()
    for file in files:
        try:
            wrong = first_difference(file, live, names)
        except NotATensorFile as error:
            raise UserError(f"what was just written cannot be read: {error}", where=str(directory)) from error
        if wrong is not None:
            raise UserError(f"{file.name} does not hold what was trained: {wrong} differs", where=str(directory))
    missing = set(live) - names
    if missing or not names:
        raise UserError(f"{len(missing)} tensors were not saved ({sorted(missing)[:1]})", where=str(directory))
    size = sum(file.stat().st_size for file in files)
    if setup.trainable.has_adapter:
        learnt = [t for name, t in live.items() if "lora_B" in name or name.endswith("gate") or "prompt_emb" in name]
        if not any(bool(t.any()) for t in learnt):
            mend = "train at least one step with a learning rate above zero"
            raise UserError("the adapter is empty: no step changed it", where=str(directory), mend=mend)
        difference = _adapter_difference(setup, directory)
    elif setup.data.task is not None:
        difference = classifier_difference(setup.trainable.lm, setup.layout, _probe_tree(setup), directory, live)
    else:
        difference = _model_difference(setup, directory, live)
    if not difference <= 1e-4:
        raise UserError(f"the reloaded result differs from the trained one by {difference:.1e}", where=str(directory))
    check = f"{len(names)} tensors read back and equal; hidden states differ by {difference:.1e}"
    return Saved(directory, len(names), size, check)


def _live_tensors(setup: Setup) -> dict[str, Tensor]:
    """The tensors that must be on disk, by the name that they have there."""
    peft, virtual, lm = setup.trainable.peft, setup.trainable.virtual, setup.trainable.lm
    head = saved_head(lm, layered=peft is not None) if setup.data.task is not None else {}
    if virtual is not None:
        return {name: t.detach() for name, t in virtual.saved().items()} | head
    if peft is not None:
        state = get_peft_model_state_dict(peft, save_embedding_layers=False)
        return {name: t.detach() for name, t in state.items()} | head
    if setup.data.task is not None:
        return classifier_state(lm)
    # tied weights are stored once, under the first of their names
    seen: dict[int, str] = {}
    state = {}
    for name, tensor in lm.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen[tensor.data_ptr()] = name
            state[name] = tensor
    return state


def _probe_tree(setup: Setup) -> TokenTree:
    ids = np.array(setup.vocabulary.backend.encode(_PROBE, add_special_tokens=False).ids, np.int32)
    return build_tree([ids], [np.zeros(len(ids), np.float32)])


@torch.no_grad()
def _adapter_difference(setup: Setup, directory: Path) -> float:
    """Load what is on disk beside the live adapter, and compare the two on a sentence."""
    peft, virtual, lm = setup.trainable.peft, setup.trainable.virtual, setup.trainable.lm
    tree = _probe_tree(setup)
    trained = hidden_states(setup.trainable.lm, tree, setup.layout).float()
    if virtual is not None:
        attach(lm, load_virtual_tokens(lm, directory))
        reloaded = hidden_states(lm, tree, setup.layout).float()
        attach(lm, virtual)
        return float((trained - reloaded).abs().max() / trained.abs().max())
    assert peft is not None
    with adapter_without_head(directory) as plain:
        peft.load_adapter(str(plain), "reloaded")
    peft.set_adapter("reloaded")
    reloaded = hidden_states(setup.trainable.lm, tree, setup.layout).float()
    peft.set_adapter("default")
    peft.delete_adapter("reloaded")
    return float((trained - reloaded).abs().max() / trained.abs().max())


@torch.no_grad()
def _model_difference(setup: Setup, directory: Path, tensors: dict[str, Tensor]) -> float:
    """Load what was saved afresh, by its configuration and names, and compare the two models on a sentence.

    tensors: what the files hold, which is known to be equal; they are lent to the fresh model, so that it takes no
    memory of its own
    """
    from camelid.model.layout import choose_layout
    from camelid.model.load import model_of_tensors

    tree = _probe_tree(setup)
    trained = hidden_states(setup.trainable.lm, tree, setup.layout).float()
    fresh = model_of_tensors(directory, tensors).to(setup.world.device)  # type: ignore[arg-type]
    layout, _ = choose_layout(fresh, setup.layout)
    return float((trained - hidden_states(fresh, tree, layout).float()).abs().max() / trained.abs().max())
