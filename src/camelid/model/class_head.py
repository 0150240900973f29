"""A head that tells classes apart: logits from the hidden state of a text's last token, or of every word's.

It hangs in the causal LM under the name `score`, as in transformers' ...ForSequenceClassification and
...ForTokenClassification, whose files are written and read.

Shape legend: N nodes of a row, M targets, D width, C classes.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from camelid.data.pack import Classes, Row
from camelid.errors import UserError
from camelid.model.layout import EdgeOutput, edges_of
from camelid.model.task_info import TaskInfo

NAME = "score"


@final
class ClassHead(nn.Linear):
    """(M, D) -> (M, C), in float32 whatever the base's type.

    scale: a power of two that the hidden states are taken times, so that a step of the optimiser moves a logit alike
        on every base. Files have the weight times it (`folded`), which is exact.
    """

    def __init__(self, width: int, classes: int, *, bias: bool, scale: float = 1.0, device: Any = None) -> None:
        super().__init__(width, classes, bias=bias, device=device, dtype=torch.float32)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """Logits."""
        return nn.functional.linear(input.float(), self.weight * self.scale, self.bias)

    def folded(self) -> dict[str, Tensor]:
        """The tensors of a plain linear layer with the same logits, by their names in it."""
        bias = {} if self.bias is None else {"bias": self.bias.detach()}
        return {"weight": self.weight.detach() * self.scale, **bias}


def add_class_head(model: nn.Module, info: TaskInfo, *, seed: int) -> ClassHead:
    """Hang a fresh head into a causal LM; its weights require gradients."""
    weight: Tensor = model.get_input_embeddings().weight  # type: ignore[operator]
    # with a bias for tags only, as transformers' classes have it
    head = ClassHead(
        weight.shape[1], len(info.labels), bias=info.task == "tag", scale=_scale_for(model), device=weight.device
    )
    drawn = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.02
    with torch.no_grad():
        head.weight.copy_(drawn)
        if head.bias is not None:
            head.bias.zero_()
    model.add_module(NAME, head)
    return head


@torch.no_grad()
def _scale_for(model: nn.Module) -> float:
    """The power of two that brings what the base's last norm gives to a root mean square of 1 to 2.

    SmolLM2's is 1.8, Gemma 3's 54: there a fresh head as wide as transformers' is sure of classes that it never saw,
    and its first steps are thirty times too long.
    """
    decoder: nn.Module = model.get_decoder()  # type: ignore[operator]
    norms = [module for module in decoder.children() if "Norm" in type(module).__name__]
    weight: Tensor | None = getattr(norms[-1], "weight", None) if norms else None
    if weight is None or weight.is_meta:
        return 1.0
    alternating = torch.ones_like(weight)  # its mean is 0 and its mean square 1, so a norm gives its own weights back
    alternating[::2] = -1
    size = float(norms[-1](alternating).float().square().mean().sqrt())
    return 2.0 ** -math.floor(math.log2(size)) if math.isfinite(size) and size > 0 else 1.0


def class_head_of(model: nn.Module) -> ClassHead | None:
    """The head that hangs in a causal LM."""
    found = model._modules.get(NAME)
    return found if isinstance(found, ClassHead) else None


def class_logits(model: nn.Module, hidden_ND: Tensor, nodes: Tensor) -> Tensor:
    """(M, C) float32 for some nodes (M,)."""
    head = class_head_of(model)
    assert head is not None, "rows with classes need a model with a head for them"
    return head(hidden_ND.index_select(0, nodes))


def learnt_of(model: nn.Module, hidden: Tensor, row: Row, *, want_mean: bool = False) -> EdgeOutput:
    """What the model says of all that is learnt from a row: tokens, or classes of nodes. hidden: (N, D)."""
    if row.classes is None:
        return edges_of(model, hidden, row.tree, want_mean=want_mean)
    return _classes_of(model, hidden, row.classes)


def _classes_of(model: nn.Module, hidden: Tensor, classes: Classes) -> EdgeOutput:
    nodes = torch.from_numpy(classes.nodes).to(hidden.device)
    labels = torch.from_numpy(classes.labels.astype("int64")).to(hidden.device)
    logp = torch.log_softmax(class_logits(model, hidden, nodes), -1)
    chosen = logp.gather(1, labels[:, None])[:, 0]
    every = torch.arange(len(labels), device=hidden.device)
    return EdgeOutput(chosen, logp.mean(-1), torch.ones_like(chosen), hidden.index_select(0, nodes), every)


def load_class_head(model: nn.Module, info: TaskInfo, tensors: dict[str, Tensor], where: str) -> ClassHead:
    """Hang a saved head into a causal LM, frozen. tensors: as a file holds them, whatever stands before `score.`."""
    head = add_class_head(model, info, seed=0)
    found: dict[str, Any] = {name.rpartition(f"{NAME}.")[2]: t for name, t in tensors.items() if f"{NAME}." in name}
    wanted = {name: tuple(p.shape) for name, p in head.named_parameters()}
    if {name: tuple(t.shape) for name, t in found.items()} != wanted:
        raise UserError("the file holds no head for its classes", where=where, mend="save or copy the model again")
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter.copy_(found[name] / head.scale if name == "weight" else found[name])
    return head.requires_grad_(False)
