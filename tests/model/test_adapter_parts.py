"""An adapter taken apart = PEFT's own forward with it on, and the base is untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, MultitaskPromptTuningConfig, get_peft_model
from tiny import tiny_model

from camelid.data.tree import build_tree
from camelid.errors import UserError
from camelid.generate.torch_decoder import TorchDecoder
from camelid.model.adapter_parts import adapter_parts
from camelid.model.packed import Routing
from camelid.model.packed_layers import pack_for_good

IDS = np.array([5, 6, 7, 8, 9, 10, 11, 12, 40, 41], np.int32)
KINDS = {
    "lora": {"r": 4},
    "rslora": {"r": 4, "use_rslora": True, "rank_pattern": {"down_proj": 2}},
    "dora": {"r": 4, "use_dora": True},
}


def _saved(folder: Path, **settings: object) -> Path:
    """A random adapter in PEFT's format."""
    config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", lora_alpha=6, **settings)  # type: ignore[arg-type]
    wrapped = get_peft_model(tiny_model("llama"), config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    wrapped.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_parts_on_packed_layers_equal_pefts_forward(kind: str, tmp_path: Path) -> None:
    from peft import PeftModel

    directory = _saved(tmp_path, **KINDS[kind])
    wrapped = PeftModel.from_pretrained(tiny_model("llama"), directory)
    with torch.no_grad():
        adapted: Any = wrapped.get_base_model()
        wanted = adapted.get_decoder()(torch.tensor(IDS[None].astype(np.int64))).last_hidden_state[0]
        base = tiny_model("llama").get_decoder()(torch.tensor(IDS[None].astype(np.int64))).last_hidden_state[0]
    model, routing = tiny_model("llama"), Routing()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = adapter_parts(model, directory)
    assert {name: torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()} == dict.fromkeys(
        before, True
    )
    assert bool(parts.weights) is (kind == "dora")
    parts.put_on(pack_for_good(model, routing, layout="tree"), "tuned")
    decoder = TorchDecoder(model, routing, slots=1)
    tree = build_tree([IDS], [np.zeros(len(IDS), np.float32)])
    torch.testing.assert_close(decoder._hidden_states(tree, "tuned"), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder._hidden_states(tree, ""), base, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(wanted, base, atol=1e-2)


def test_an_adapter_that_is_more_than_linear_layers_is_refused(tmp_path: Path) -> None:
    directory = _saved(tmp_path / "saved", r=2, modules_to_save=["embed_tokens"])
    with pytest.raises(UserError, match=r"embed_tokens.*merge it"):
        adapter_parts(tiny_model("llama"), directory)
    config = MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, num_tasks=2)
    get_peft_model(tiny_model("llama"), config).save_pretrained(str(tmp_path / "multitask"))
    with pytest.raises(UserError, match=r"MULTITASK_PROMPT_TUNING.*cannot"):
        adapter_parts(tiny_model("llama"), tmp_path / "multitask")
