"""Classifiers on disk, in the forms that others read.

An adapter with a head is one of PEFT's for SEQ_CLS or TOKEN_CLS: load transformers' ...ForSequenceClassification (or
...ForTokenClassification) of the base, then the adapter. A model that was tuned itself is saved as such a class.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camelid.data.tree import TokenTree
from camelid.errors import UserError
from camelid.model.bars import no_progress_bars
from camelid.model.class_head import NAME, ClassHead, class_head_of, class_logits, load_class_head
from camelid.model.layout import attention_of, hidden_states, ordinary_attention
from camelid.model.load import load_adapter, load_model
from camelid.model.resolve import ADAPTER_FILE, Source
from camelid.model.task_info import TaskInfo
from camelid.model.virtual_tokens import attach, is_virtual, load_virtual_tokens


def transformers_class(task: str, config: Any) -> Any:
    """transformers' own class for such a model, or None where it has none for this architecture."""
    from transformers.models.auto import modeling_auto as auto

    mapping: Any = auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if task == "tag":
        mapping = auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    return mapping.get(type(config), None)


def name_task(config: PeftConfig, info: TaskInfo) -> None:
    """Say in an adapter's configuration that a head belongs to it."""
    kind: Any = "TOKEN_CLS" if info.task == "tag" else "SEQ_CLS"
    config.task_type = kind
    config.modules_to_save = [NAME]  # type: ignore[attr-defined]


def saved_head(model: nn.Module, *, layered: bool) -> dict[str, Tensor]:
    """The head's tensors by PEFT's names for them. layered: the adapter is of layers, not of virtual tokens."""
    head = class_head_of(model)
    assert head is not None
    before = "base_model.model." if layered else "base_model."
    return {f"{before}{NAME}.{name}": tensor for name, tensor in head.folded().items()}


def add_head_to_file(model: nn.Module, file: Path, *, layered: bool) -> None:
    """Write the head into an adapter's file, beside what is there."""
    head = {name: tensor.cpu().contiguous() for name, tensor in saved_head(model, layered=layered).items()}
    save_file({**load_file(file), **head}, file, metadata={"format": "pt"})


@contextmanager
def adapter_without_head(directory: Path) -> Iterator[Path]:
    """The adapter alone, as one of a causal LM: the directory itself where it has no head, else a copy for a while."""
    if TaskInfo.of_head(directory) is None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="camelid-adapter-") as name:
        plain = Path(name)
        config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        config |= {"task_type": "CAUSAL_LM", "modules_to_save": None}
        (plain / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        tensors = {name: t for name, t in load_file(directory / ADAPTER_FILE).items() if f".{NAME}." not in name}
        save_file(tensors, plain / ADAPTER_FILE, metadata={"format": "pt"})
        yield plain


def classifier_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a tuned classifier by their names in transformers' class: the decoder and the head."""
    decoder = model.get_decoder()  # type: ignore[operator]
    before = next(name for name, module in model.named_modules() if module is decoder)
    head = class_head_of(model)
    assert head is not None
    kept = {name: tensor.detach() for name, tensor in model.state_dict().items() if name.startswith(f"{before}.")}
    return kept | {f"{NAME}.{name}": tensor for name, tensor in head.folded().items()}


def save_classifier(model: nn.Module, info: TaskInfo, directory: Path) -> None:
    """Write transformers' own classifier: configuration with the names of the classes, and weights."""
    config: Any = type(model.config).from_dict(model.config.to_dict())  # type: ignore[union-attr]
    config.id2label = dict(enumerate(info.labels))
    config.label2id = {label: i for i, label in enumerate(info.labels)}
    made = transformers_class(info.task, config)
    assert made is not None, "checked before training"
    with torch.device("meta"):
        empty = made(config)
    empty.load_state_dict(classifier_state(model), strict=True, assign=True)
    with no_progress_bars():
        empty.save_pretrained(str(directory), safe_serialization=True)


def load_classifier(source: Source, **loading: Any) -> tuple[nn.Module, TaskInfo]:
    """The model of a classifier's source, frozen, and what it tells apart. loading: as for `load_model`.

    Raises UserError for a model that is no classifier.
    """
    directory = source.outermost
    info = TaskInfo.of_head(directory)
    if info is None:
        raise UserError("this model tells no classes apart", where=source.label, mend="train one with task=classify")
    if source.adapter_directory is None:
        return _load_tuned(source.directory, info), info
    model: nn.Module = load_model(replace(source, adapter_directory=None), **loading).model
    config = PeftConfig.from_pretrained(str(directory))
    if is_virtual(config):
        attach(model, load_virtual_tokens(model, directory, config))
    else:
        with adapter_without_head(directory) as plain:
            model = load_adapter(model, plain, trainable=False).get_base_model()
    load_class_head(model, info, load_file(directory / ADAPTER_FILE), str(directory))
    return model.requires_grad_(False).eval(), info


def _load_tuned(directory: Path, info: TaskInfo, tensors: dict[str, Tensor] | None = None) -> nn.Module:
    """tensors: in place of those in the files, not copied."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    made = transformers_class(info.task, config)
    if made is None:
        raise UserError("transformers has no classifier of this architecture", where=str(directory))
    with no_progress_bars():
        model = made.from_pretrained(
            directory if tensors is None else None, state_dict=tensors, config=config, dtype=torch.float32,
            use_safetensors=True, local_files_only=True,
        )  # fmt: skip
    plain = model.score
    head = ClassHead(plain.in_features, plain.out_features, bias=plain.bias is not None)
    head.load_state_dict(plain.state_dict())
    model.score = head
    return model.requires_grad_(False).eval()


@torch.no_grad()
def classifier_difference(
    model: nn.Module, layout: str, tree: TokenTree, directory: Path, tensors: dict[str, Tensor]
) -> float:
    """Largest difference between a classifier's logits and those of what was saved, relative to their size.

    tensors: what the files hold, lent to the fresh model
    """
    info = TaskInfo.load(directory)
    assert info is not None
    fresh = _load_tuned(directory, info, tensors).to(next(model.parameters()).device)
    nodes = torch.arange(len(tree), device=next(model.parameters()).device)
    ours = class_logits(model, hidden_states(model, tree, layout), nodes)
    with attention_of(fresh, ordinary_attention(fresh)):
        theirs = class_logits(fresh, hidden_states(fresh, tree, "separate"), nodes)
    return float((ours - theirs).abs().max() / ours.abs().max())
