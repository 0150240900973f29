"""Run a causal LM over a row of examples and return log-probabilities of its trained edges.

Two layouts give the same numbers: `tree` (each shared prefix once; attention by model/attend.py) and `separate` (one
padded row per path, the model's ordinary attention), the fallback for models that cannot attend over a tree. Which
one a model gets is decided here, once, by what it declares and by a check on a tiny tree; it is said in the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from camelid.data.tree import TokenTree, below_a_run, build_tree
from camelid.model.attend import TREE_ATTENTION, TreeLayout
from camelid.model.head import edge_logprobs, head_of
from camelid.model.virtual import PREFIXED_ATTENTION, Virtual
from camelid.model.virtual_tokens import InputTokens, LearnedLayers, attached, virtual_tokens_of, without_virtual_tokens


@dataclass(frozen=True)
class EdgeOutput:
    """What the model says about a row's trained edges.

    logp:   (E,) float32, log-probability of each edge's label
    mean:   (E,) float32, mean log-probability over the vocabulary (zeros unless asked for)
    weight: (E,) float32, the edges' training weights
    hidden: (M, D), final hidden rows of the distinct parents
    row:    (E,) int64, row of `hidden` that each edge leaves from
    """

    logp: Tensor
    mean: Tensor
    weight: Tensor
    hidden: Tensor
    row: Tensor


def choose_layout(model: nn.Module, wanted: str) -> tuple[str, str]:
    """('tree' | 'separate', reason). Sets the model's attention accordingly and proves the choice on a tiny tree."""
    if wanted == "separate":
        model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
        return "separate", "asked for"
    reason = why_not_tree(model)
    if reason is None:
        model.set_attn_implementation(TREE_ATTENTION)  # type: ignore[operator]
        gap = _tiny_tree_gap(model)
        if gap <= 0.05:
            return "tree", f"each shared prefix is computed once (checked: largest relative difference {gap:.1e})"
        reason = f"a tiny tree differed from its separate paths by {gap:.1e}"
    model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    return "separate", reason


def ordinary_attention(model: nn.Module) -> str:
    """The model's attention over padded batches: its own (fused where transformers declares it, else eager).

    Ours where learned keys and values stand before the text: the model's own would not know of them.
    """
    if isinstance(attached(model), LearnedLayers):
        return PREFIXED_ATTENTION
    return "sdpa" if model._supports_sdpa else "eager"  # type: ignore[union-attr]


@contextmanager
def attention_of(model: nn.Module, name: str) -> Iterator[None]:
    """The model's attention implementation for the length of a block."""
    former: str = model.config._attn_implementation  # type: ignore[union-attr]
    if former != name:
        model.set_attn_implementation(name)  # type: ignore[operator]
    try:
        yield
    finally:
        if former != name:
            model.set_attn_implementation(former)  # type: ignore[operator]


def why_not_tree(model: nn.Module) -> str | None:
    """The declared reason why a model cannot attend over a tree."""
    name = type(model).__name__
    if not model._supports_attention_backend:  # type: ignore[union-attr]  # transformers' declaration of the interface
        return f"{name} does not take attention from outside"
    config = model.config.get_text_config().to_dict()  # type: ignore[union-attr]
    kinds = set(config.get("layer_types") or []) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"{name} has {', '.join(sorted(kinds))} layers"
    if config.get("attn_logit_softcapping"):
        return f"{name} caps its attention scores"
    return None


def _tiny_tree_gap(model: nn.Module) -> float:
    """Largest difference of hidden states between a small tree and its separate paths, relative to their size."""
    vocabulary = model.config.get_text_config().vocab_size  # type: ignore[union-attr]
    token = np.arange(1, 13, dtype=np.int32) * 7 % vocabulary
    paths = [token[:8], np.concatenate((token[:4], token[8:])).astype(np.int32)]
    tree = build_tree(paths, [np.zeros(len(p), np.float32) for p in paths])
    was_training = model.training
    model.eval()
    with torch.no_grad():
        shared = hidden_states(model, tree, "tree").float()
        model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
        gap = 0.0
        for path, leaf in zip(paths, tree.leaves, strict=True):
            alone = hidden_states(model, build_tree([path], [np.zeros(len(path), np.float32)]), "separate").float()
            difference = (shared[tree.path(leaf)] - alone).abs().max() / alone.abs().max()
            gap = max(gap, float(difference))
        model.set_attn_implementation(TREE_ATTENTION)  # type: ignore[operator]
    model.train(was_training)
    return gap if np.isfinite(gap) else float("inf")


def hidden_states(model: nn.Module, tree: TokenTree, layout: str, *, noise_alpha: float = 0.0) -> Tensor:
    """Final hidden state of every node, (N, D). `noise_alpha` > 0 adds NEFTune's noise to the embeddings.

    Virtual tokens that hang in the model stand before every path, once in a tree; they have no hidden state here.
    """
    tokens = virtual_tokens_of(model)
    first = tokens.embeddings() if isinstance(tokens, InputTokens) else None
    learned = tokens.learned() if isinstance(tokens, LearnedLayers) else None
    if learned is not None and model.config._attn_implementation not in _KNOWING_LAYERS:  # type: ignore[union-attr]
        raise RuntimeError("this attention knows nothing of the learned keys and values")
    if layout == "tree":
        return _over_tree(model, tree, first, learned, noise_alpha)
    return _over_rows(model, tree, first, learned, noise_alpha)


_KNOWING_LAYERS = (TREE_ATTENTION, PREFIXED_ATTENTION)


def _over_tree(
    model: nn.Module, tree: TokenTree, first: Tensor | None, learned: Virtual | None, noise_alpha: float
) -> Tensor:
    count = len(first) if first is not None else 0
    rows = TreeLayout(below_a_run(tree, count), _device_of(model), learned)
    inputs = _inputs(model, rows.input_ids[:, count:], tree, noise_alpha, first)
    decoder = model.get_decoder()  # type: ignore[operator]
    out = decoder(**inputs, position_ids=rows.position_ids, tree_layout=rows, use_cache=False)
    return out.last_hidden_state[0, count:]


def _over_rows(
    model: nn.Module, tree: TokenTree, first: Tensor | None, learned: Virtual | None, noise_alpha: float
) -> Tensor:
    runs = tree.runs()
    if not all(tree.parent[start] < 0 for start, _ in runs):
        raise ValueError("the separate layout needs a tree that was built with share=False")
    longest, device = max(stop - start for start, stop in runs), _device_of(model)
    ids = torch.zeros(len(runs), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, (start, stop) in enumerate(runs):
        ids[i, : stop - start] = torch.from_numpy(tree.token[start:stop].astype(np.int64))
        mask[i, : stop - start] = 1
    mask = mask.to(device)
    inputs = _inputs(model, ids.to(device), tree, noise_alpha, first)
    decoder = model.get_decoder()  # type: ignore[operator]
    if model.config._attn_implementation == PREFIXED_ATTENTION:  # type: ignore[union-attr]
        # it is causal: the padding, on the right, is seen by none
        start = learned.positions if learned is not None else 0
        positions = torch.arange(start, start + longest, device=device)[None]
        out = decoder(**inputs, position_ids=positions, virtual=learned, use_cache=False)
        return out.last_hidden_state[mask.bool()]
    count = len(first) if first is not None else 0
    whole = torch.cat((mask.new_ones(len(runs), count), mask), 1)
    out = decoder(**inputs, attention_mask=whole, use_cache=False)
    return out.last_hidden_state[:, count:][mask.bool()]


def _device_of(model: nn.Module) -> torch.device:
    return model.get_input_embeddings().weight.device  # type: ignore[operator]


def _inputs(
    model: nn.Module, ids: Tensor, tree: TokenTree, noise_alpha: float, first: Tensor | None
) -> dict[str, Tensor]:
    """The decoder's input for ids (B, S), with the embeddings `first` (P, D) before each row."""
    if first is None and not noise_alpha:
        return {"input_ids": ids}
    embeds = model.get_input_embeddings()(ids)  # type: ignore[operator]
    if noise_alpha:
        length = len(tree) / max(1, len(tree.leaves))
        bound = noise_alpha / (length * embeds.shape[-1]) ** 0.5  # NEFTune (Jain et al. 2023): alpha / sqrt(L d)
        embeds = embeds + torch.empty_like(embeds).uniform_(-bound, bound)
    if first is not None:
        embeds = torch.cat((first.to(embeds.dtype)[None].expand(len(ids), -1, -1), embeds), 1)
    return {"inputs_embeds": embeds}


@dataclass(frozen=True)
class Edges:
    """A tree's trained edges on the model's device: parents (M,) node indices, and by edge row, label and weight."""

    parents: Tensor
    row: Tensor
    label: Tensor
    weight: Tensor


def trained_edges(tree: TokenTree, device: torch.device) -> Edges:
    """The edges with a weight, sorted by parent, and their distinct parents."""
    edges = tree.trained_edges()
    parents, row = np.unique(tree.parent[edges], return_inverse=True)
    order = np.argsort(row, kind="stable")
    return Edges(
        torch.from_numpy(parents.astype(np.int64)).to(device),
        torch.from_numpy(row[order].astype(np.int64)).to(device),
        torch.from_numpy(tree.token[edges[order]].astype(np.int64)).to(device),
        torch.from_numpy(tree.weight[edges[order]]).to(device),
    )


def edge_output(
    model: nn.Module, tree: TokenTree, layout: str, *, noise_alpha: float = 0.0, want_mean: bool = False
) -> EdgeOutput:
    """Log-probabilities of the tree's trained edges. A tree without any gives empty tensors."""
    hidden = hidden_states(model, tree, layout, noise_alpha=noise_alpha)
    return edges_of(model, hidden, tree, want_mean=want_mean)


def edges_of(model: nn.Module, hidden: Tensor, tree: TokenTree, *, want_mean: bool = False) -> EdgeOutput:
    """The same from the final hidden states of the tree's nodes, (N, D)."""
    edges = trained_edges(tree, hidden.device)
    rows = hidden.index_select(0, edges.parents)
    logp, mean = edge_logprobs(rows, head_of(model), edges.row, edges.label, want_mean=want_mean)
    return EdgeOutput(logp, mean, edges.weight, rows, edges.row)


def check_head(model: nn.Module) -> float:
    """Largest difference between the model's own logits and ours on a few tokens, relative to their size."""
    head, device = head_of(model), _device_of(model)
    tree = build_tree([np.arange(1, 7, dtype=np.int32)], [np.zeros(6, np.float32)])
    rows = TreeLayout(tree, device)
    was_training = model.training
    model.eval()
    with torch.no_grad(), without_virtual_tokens(model):
        out = model(input_ids=rows.input_ids, position_ids=rows.position_ids, tree_layout=rows, use_cache=False)
        ours = head.logits(hidden_states(model, tree, "tree"))
        theirs = out.logits[0].float()
    model.train(was_training)
    return float((ours - theirs).abs().max() / theirs.abs().max())
