"""Tree = separate, on real architectures; per branch = the dense mask = FlexAttention."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ARCHITECTURES, tiny_model, with_random_adapter
from token_trees import Paths, loss_and_gradient, weighted_paths
from torch.utils._python_dispatch import TorchDispatchMode

from camelid.data.tree import TokenTree, below_a_run, build_tree
from camelid.model import attend
from camelid.model.adapters import add_lora, train_in_full
from camelid.model.attend import TREE_ATTENTION, TreeLayout, tree_attention
from camelid.model.fused import fuse
from camelid.model.layout import choose_layout, edge_output
from camelid.model.virtual import Virtual, VirtualLayer, before
from camelid.recipe_sections import LoraSettings
from camelid.train.objectives import weighted_nll

CPU = torch.device("cpu")


def _dense(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tree: TokenTree, window: int | None, count: int = 0
) -> torch.Tensor:
    """The first `count` nodes are keys only."""
    mask = torch.from_numpy(tree.dense_mask(window))[count:]
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3)
    return out.transpose(1, 2)


@given(
    weighted_paths(vocabulary=3, most=8, longest=20),
    st.sampled_from([None, 1, 3, 7]),
    st.integers(1, 40),
    st.sampled_from([0, 60, 8192]),
    st.sampled_from([0, 1, 5]),
)
@settings(max_examples=150)
def test_per_branch_equals_the_dense_mask(
    made: Paths, window: int | None, block: int, a_block: int, count: int
) -> None:
    """Learned keys and values are those of so many nodes before all others."""
    tree = build_tree(*made)
    torch.manual_seed(len(tree))
    q, k, v = (torch.randn(1, heads, len(tree), 8, dtype=torch.float64, requires_grad=True) for heads in (6, 2, 2))
    tensors = [q, k, v]
    virtual = None
    if count:
        keys, values = (torch.randn(2, count, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
        tensors += [keys, values]
        virtual = Virtual([VirtualLayer(keys, values)])
    module = torch.nn.Module()
    module.layer_idx = 0  # type: ignore[assignment]
    former = attend.QUERIES_PER_BLOCK, attend.SCORES_A_BLOCK
    attend.QUERIES_PER_BLOCK, attend.SCORES_A_BLOCK = block, a_block
    try:
        layout = TreeLayout(tree, CPU, virtual)
        ours, _ = tree_attention(module, q, k, v, None, scaling=0.3, sliding_window=window, tree_layout=layout)
        grad = torch.randn_like(ours)
        ours_grads = torch.autograd.grad(ours, tensors, grad)
    finally:
        attend.QUERIES_PER_BLOCK, attend.SCORES_A_BLOCK = former
    if virtual is not None:
        k, v = before(virtual.layers[0], k, v)
    dense = _dense(q, k, v, below_a_run(tree, count), window, count)
    torch.testing.assert_close(ours, dense, atol=1e-5, rtol=1e-5)
    for a, b in zip(ours_grads, torch.autograd.grad(dense, tensors, grad), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*without torch.compile")  # it writes the scores out: enough for a test
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("count", [0, 4])
def test_flex_attention_sees_the_same(window: int | None, count: int) -> None:
    """The GPU's path, forward only: FlexAttention has no backward pass on a CPU."""
    from torch.nn.attention.flex_attention import flex_attention

    rng = np.random.default_rng(0)
    paths = [np.r_[[1, 2, 3], rng.integers(4, 50, rng.integers(1, 30))].astype(np.int32) for _ in range(6)]
    tree = build_tree(paths, [np.zeros(len(p), np.float32) for p in paths])
    q, k, v = (torch.randn(1, heads, len(tree), 16) for heads in (4, 2, 2))
    virtual = Virtual([VirtualLayer(torch.randn(2, count, 16), torch.randn(2, count, 16))]) if count else None
    if virtual is not None:
        k, v = before(virtual.layers[0], k, v)
    mask = TreeLayout(tree, CPU, virtual).flex_mask(window)
    with torch.no_grad():
        flex = flex_attention(q, k, v, block_mask=mask, scale=0.3, enable_gqa=True)
    wanted = _dense(q, k, v, below_a_run(tree, count), window, count)
    torch.testing.assert_close(flex.transpose(1, 2), wanted, atol=1e-5, rtol=1e-5)


def test_cost_follows_the_paths_and_not_the_square_of_the_row() -> None:
    paths = [np.r_[np.arange(40), 100 + i, np.arange(60)].astype(np.int32) for i in range(50)]
    tree = build_tree(paths, [np.zeros(len(p), np.float32) for p in paths])
    blocks = TreeLayout(tree, CPU).blocks(None)
    pairs = sum((b.stop - b.start) * sum(y - x for x, y in b.keys) for b in blocks)
    assert pairs <= sum(len(path) ** 2 for path in paths)
    assert pairs < len(tree) ** 2 / 10
    assert all(a.stop <= b.start for a, b in pairwise(blocks))


def _trainable(architecture: str, method: str):
    model = tiny_model(architecture)
    fuse(model)
    if method == "full":
        return train_in_full(model)
    trainable = add_lora(model, LoraSettings(r=4), seed=0)
    return with_random_adapter(trainable)


def _loss_and_gradients(trainable, trees: list[TokenTree], layout: str) -> tuple[float, torch.Tensor]:
    trainable.lm.set_attn_implementation(TREE_ATTENTION if layout == "tree" else "sdpa")
    return loss_and_gradient(trainable, trees, layout)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tree_equals_separate(architecture: str, method: str) -> None:
    """Shows 4: loss to 1e-6 and gradient to 1e-5, relative, in float32, over made trees."""
    trainable = _trainable(architecture, method)

    @given(weighted_paths())
    @settings(max_examples=15)
    def check(made: Paths) -> None:
        paths, weights = made
        tree = build_tree(paths, weights)
        alone = [build_tree([p], [w], share=False) for p, w in zip(paths, weights, strict=True)]
        loss, gradient = _loss_and_gradients(trainable, [tree], "tree")
        wanted, wanted_gradient = _loss_and_gradients(trainable, alone, "separate")
        if not any(w.any() for w in weights):
            assert loss == wanted == 0
            return
        assert abs(loss - wanted) <= 1e-6 * abs(wanted)
        assert (gradient - wanted_gradient).norm() <= 1e-5 * wanted_gradient.norm()

    check()


@pytest.mark.parametrize("layout", ["tree", "separate"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_full_tuning_in_bfloat16_follows_float32(architecture: str, layout: str) -> None:
    """Trained weights stay in float32 and are cast for the products (autocast): what the loop does by default."""
    trainable = _trainable(architecture, "full")
    paths = [np.arange(3, 23, dtype=np.int32), np.arange(60, 75, dtype=np.int32)]
    weights = [np.r_[np.zeros(4), np.ones(len(path) - 4)].astype(np.float32) for path in paths]
    trees = [build_tree(paths, weights, share=layout == "tree")]
    loss, gradient = _loss_and_gradients(trainable, trees, layout)
    with torch.autocast("cpu", torch.bfloat16):
        rough = torch.zeros(())
        for tree in trees:
            rough = rough + weighted_nll(edge_output(trainable.lm, tree, layout))
    parameters = list(trainable.named_parameters().values())
    found = torch.cat([g.flatten() for g in torch.autograd.grad(rough, parameters)])
    assert abs(float(rough.detach()) - loss) <= 0.02 * abs(loss)
    assert found.dtype == torch.float32
    assert (found - gradient).norm() <= 0.1 * gradient.norm()


def test_kept_and_recomputed_probabilities_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is done depends on the paths' length (KEPT_SCORES); nothing else may."""
    paths = [np.arange(40, dtype=np.int32), np.r_[np.arange(25), 70:75].astype(np.int32), np.arange(90, 99)]
    tree = build_tree(paths, [np.zeros(len(p), np.float32) for p in paths])
    monkeypatch.setattr(attend, "SCORES_A_BLOCK", 0)
    blocks = TreeLayout(tree, torch.device("cpu")).blocks(None)
    assert len(blocks) == 3, "the first path, the branch that leaves it, and the path that stands alone"
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, *shape, requires_grad=True) for shape in [(3, len(tree), 8), *[(len(tree), 8)] * 2])
    computed = []
    for limit in (0, 1000):
        monkeypatch.setattr(attend, "KEPT_SCORES", limit)
        out: Any = attend.TreeAttention.apply(q, k, v, blocks, 0.3)
        assert (len(out.grad_fn.saved_tensors) > 3) == (limit > 0)
        computed.append(torch.autograd.grad(out.square().sum(), (q, k, v)))
    for kept, again in zip(*computed, strict=True):
        assert torch.equal(kept, again)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layout_is_chosen_by_proof(architecture: str) -> None:
    layout, reason = choose_layout(tiny_model(architecture), "tree")
    assert layout == "tree", reason


def test_a_model_that_cannot_is_laid_out_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, attn_logit_softcapping=30.0,
    )  # fmt: skip
    layout, reason = choose_layout(Gemma2ForCausalLM(config).eval(), "tree")
    assert (layout, "caps" in reason) == ("separate", True)
    # and one that claims it can but sees the wrong keys is found out by the tiny tree
    monkeypatch.setattr(attend, "_probabilities", lambda q, k, *_: torch.softmax(q @ k.transpose(1, 2), -1))
    layout, reason = choose_layout(tiny_model("llama"), "tree")
    assert (layout, "differed" in reason) == ("separate", True)


def test_what_trees_do_not_support_is_refused() -> None:
    tree = build_tree([np.arange(4, dtype=np.int32)], [np.zeros(4, np.float32)])
    q = torch.randn(1, 2, 4, 8)
    refused: list[dict[str, Any]] = [{"dropout": 0.1}, {"softcap": 30.0}, {"s_aux": torch.zeros(2)}]
    for wrong in refused:
        with pytest.raises(ValueError, match="not supported"):
            tree_attention(torch.nn.Module(), q, q, q, None, scaling=1.0, tree_layout=TreeLayout(tree, CPU), **wrong)
    with pytest.raises(ValueError, match="tree_layout"):
        tree_attention(torch.nn.Module(), q, q, q, None, scaling=1.0)


class _Products(TorchDispatchMode):
    """Notes the layout of every batched product: oneDNN compiles one for each, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bmm.default:
            self.seen.add(tuple((tuple(x.shape), x.stride()) for x in args))
        return func(*args, **(kwargs or {}))


def test_rows_of_all_lengths_share_few_products() -> None:
    """40 rows, no two of one length, each with a shared part and five branches: forward and backward."""
    with _Products() as products:
        for n in range(100, 300, 5):
            shared = np.arange(n // 2, dtype=np.int32)
            paths = [np.concatenate((shared, np.full(n // 10 + i, 500 + i, np.int32))) for i in range(5)]
            layout = TreeLayout(build_tree(paths, [np.zeros(len(path), np.float32) for path in paths]), CPU)
            count = len(layout.tree)
            q, k, v = (torch.randn(1, count, heads, 8).transpose(1, 2).requires_grad_() for heads in (6, 2, 2))
            attend.attend_tree(q, k, v, layout, 0.3, None).sum().backward()
    assert 6 <= len(products.seen) <= 6 * 12
