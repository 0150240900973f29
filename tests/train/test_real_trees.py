"""Tree = separate on real message trees (OASST), and every reply is taught exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import ARCHITECTURES, tiny_base, tiny_model

from camelid.data.examples import Examples, flat_order, teachings
from camelid.data.ledger import Ledger
from camelid.data.pack import pack_step
from camelid.data.records import Conversation, Message, MessageTree, Origin, TreeMessage
from camelid.data.render import Renderer
from camelid.data.sources import read_records
from camelid.data.templates import template_for
from camelid.data.vocabulary import Vocabulary
from camelid.model.adapters import train_in_full
from camelid.model.attend import TREE_ATTENTION
from camelid.model.layout import edge_output, ordinary_attention
from camelid.train.objectives import weighted_nll


def _count_answers(node: TreeMessage) -> int:
    return (node.message.role == "assistant") + sum(_count_answers(reply) for reply in node.replies)


def _user(text: str, *replies: TreeMessage) -> TreeMessage:
    return TreeMessage(Message("user", text), replies)


def _assistant(text: str, *replies: TreeMessage) -> TreeMessage:
    return TreeMessage(Message("assistant", text), replies)


def test_every_reply_of_a_tree_is_taught_once() -> None:
    root = _user("q", _assistant("a", _user("r", _assistant("b"), _assistant("c"))), _assistant("d", _user("open")))
    taught = teachings(MessageTree(root, Origin("made", 1)))
    assert isinstance(taught, list)
    trained = [m.content for c in taught for m in c.messages if m.role == "assistant" and m.trained is not False]
    assert sorted(trained) == ["a", "b", "c", "d"]
    assert all(isinstance(c, Conversation) for c in taught)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_oasst_trees_equal_their_separate_paths(shared_data: Path, architecture: str) -> None:
    ledger = Ledger()
    records = list(read_records(str(shared_data / "dialogue" / "oasst_trees_en_100.jsonl"), seed=0, ledger=ledger))
    trees = [record for record in records if isinstance(record, MessageTree)]
    assert len(trees) == ledger.kept >= 95
    branching = sorted(trees, key=lambda t: -_count_answers(t.root))[:3]
    vocabulary = Vocabulary.from_directory(tiny_base())
    renderer = Renderer(vocabulary, template_for("auto", vocabulary), 2048, on_reject=ledger.reject)
    examples = flat_order(Examples(branching, renderer, range(3), reject=ledger.reject))
    shared = pack_step(examples, 1 << 20)
    alone = [row for example in examples for row in pack_step([example], 1 << 20, share=False)]
    assert sum(len(row.tree) for row in shared) < 0.8 * sum(len(row.tree) for row in alone)
    trainable = train_in_full(tiny_model(architecture))
    parameters = list(trainable.named_parameters().values())
    results = []
    for rows, layout in ((shared, "tree"), (alone, "separate")):
        name = TREE_ATTENTION if layout == "tree" else ordinary_attention(trainable.lm)
        trainable.lm.set_attn_implementation(name)  # type: ignore[operator]
        total, gradients = 0.0, [torch.zeros_like(p) for p in parameters]
        for row in rows:
            loss = weighted_nll(edge_output(trainable.lm, row.tree, layout))
            total += float(loss.detach())
            for sum_, gradient in zip(gradients, torch.autograd.grad(loss, parameters), strict=True):
                sum_ += gradient
        results.append((total, torch.cat([g.flatten() for g in gradients])))
    (loss, gradient), (wanted, wanted_gradient) = results
    assert abs(loss - wanted) <= 1e-6 * abs(wanted)
    assert (gradient - wanted_gradient).norm() <= 1e-5 * wanted_gradient.norm()
