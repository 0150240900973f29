"""Packed layers = the layers whose place they take; a row's bits do not depend on the rows beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, tiny_model, two_threads, with_random_adapter
from torch import Tensor, nn

from camelid.data.tree import TokenTree, build_tree
from camelid.generate.step import SLOT_ATTENTION, TreeStep
from camelid.model.adapters import add_lora
from camelid.model.fused import fuse
from camelid.model.layout import attention_of, choose_layout, hidden_states
from camelid.model.packed import PackedLinear, Product, Routing, packs, plain_projection
from camelid.model.packed_layers import PackedDecoderLayer, pack_for_good, packed
from camelid.model.projection import Projection
from camelid.recipe_sections import LoraSettings

CPU = torch.device("cpu")
KNOWN = ("llama", "mistral", "qwen2", "qwen3")
TREE = build_tree(
    [np.array([5, 6, 7, 8, 9, 10, 11, 12], np.int32), np.array([5, 6, 7, 30, 31], np.int32)],
    [np.zeros(8, np.float32), np.zeros(5, np.float32)],
)


def _packed_hidden(model: nn.Module, tree: TokenTree) -> Tensor:
    step = TreeStep(tree, CPU)
    with torch.no_grad(), attention_of(model, SLOT_ATTENTION):
        out = model.get_decoder()(  # type: ignore[operator]
            input_ids=step.layout.input_ids, position_ids=step.layout.position_ids, step=step, use_cache=False
        )
    return out.last_hidden_state[0]


@pytest.mark.parametrize("adapter", [None, "all-linear", ["q_proj", "down_proj"]], ids=["base", "all", "some"])
@pytest.mark.parametrize("fused", [False, True], ids=["own", "fused"])
@pytest.mark.parametrize("architecture", sorted({*ARCHITECTURES, *KNOWN}))
def test_a_packed_model_computes_the_same_and_is_itself_afterwards(
    architecture: str, fused: bool, adapter: str | list[str] | None
) -> None:
    model = tiny_model(architecture)
    if fused:
        fuse(model)
    if adapter is not None:
        trainable = add_lora(model, LoraSettings(r=4, target_modules=adapter), seed=0)
        model = with_random_adapter(trainable).lm  # type: ignore[assignment]
    model.eval()
    assert choose_layout(model, "tree")[0] == "tree"
    with torch.no_grad():
        wanted = hidden_states(model, TREE, "tree")
    own = dict(model.named_modules())
    with packed(model, Routing({"": None}), layout="tree"):
        whole = [m for m in model.modules() if isinstance(m, PackedDecoderLayer)]
        assert len(whole) == (3 if architecture in KNOWN else 0)
        assert any(isinstance(m, PackedLinear) for m in model.modules())
        torch.testing.assert_close(_packed_hidden(model, TREE), wanted, rtol=1e-4, atol=1e-5)
    assert dict(model.named_modules()) == own
    with torch.no_grad():
        assert torch.equal(hidden_states(model, TREE, "tree"), wanted)


def test_packing_for_good_keeps_no_linear_layer_and_names_every_place() -> None:
    model = tiny_model("llama")
    names = {name for name, module in model.named_modules() if type(module) is nn.Linear and name != "lm_head"}
    made = pack_for_good(model, Routing(), layout="tree")
    assert set(made.places) == names
    assert {type(m) for m in model.modules()} & {nn.Linear} == {nn.Linear}  # the head, which the engine packs itself
    assert sum(type(m) is nn.Linear for m in model.modules()) == 1


def test_rows_of_several_adapters_in_one_batch() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(12, 8), torch.randn(5, 8)]
    bias = torch.randn(5)
    routing = Routing()
    layer = PackedLinear([Projection(weights[0], None), Projection(weights[1], bias)], routing)
    a, b = torch.randn(3, 8), torch.randn(5, 3)
    layer.add("low", 1, Projection(weights[1], bias, a, b, 0.5))
    instead = torch.randn(12, 8)
    layer.put("other", 0, instead, None)
    x = torch.randn(6, 8)
    routing.rows = {"low": torch.tensor([0, 4]), "other": torch.tensor([2]), "unknown": torch.tensor([5])}
    y = layer(x)
    base = torch.cat((x @ weights[0].T, x @ weights[1].T + bias), 1)
    wanted = base.clone()
    wanted[[0, 4], 12:] += 0.5 * x[[0, 4]] @ a.T @ b.T
    wanted[2, :12] = x[2] @ instead.T
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-5)
    routing.rows = {"low": None}
    torch.testing.assert_close(layer(x)[:, 12:], base[:, 12:] + 0.5 * x @ a.T @ b.T, rtol=1e-4, atol=1e-5)
    routing.rows = {}
    torch.testing.assert_close(layer(x[None])[0], base, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(960, 576), (576, 1536), (4096, 576), (640, 3072), (16, 2048), (80, 48), (48, 4)])
@two_threads()
def test_a_row_has_the_same_bits_whatever_stands_beside_it(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if not packs(weight):
        pytest.skip("this build of PyTorch has no packed product")
    product = Product(weight, None)
    x = torch.randn(200, shape[1], generator=torch.Generator().manual_seed(2))
    whole = product(x)
    torch.testing.assert_close(whole, x @ weight.T, rtol=1e-4, atol=1e-3)
    for rows in (*range(1, 67), 100, 128, 199):
        assert torch.equal(product(x[:rows].contiguous()), whole[:rows]), f"{rows} rows"
        start = 200 - rows
        assert torch.equal(product(x[start:].contiguous()), whole[start:]), f"{rows} rows from {start}"


def test_what_hooks_watch_is_not_replaced() -> None:
    layer = nn.Linear(4, 4)
    assert plain_projection(layer) is not None
    layer.register_forward_hook(lambda module, args, output: None)
    assert plain_projection(layer) is None
