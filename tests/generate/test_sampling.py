"""Each rule of sampling against a plain re-computation; whole distributions by many draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from camelid.generate.base import Sampling
from camelid.generate.sampling import Chooser, choose

PROMPT = np.array([1, 2], np.int32)
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def _kept(logits: Tensor, sampling: Sampling) -> np.ndarray:
    """The distribution that is drawn from, written out: sort everything, cut, divide."""
    probs = np.exp(np.asarray(logits, np.float64) / sampling.temperature)
    probs /= probs.sum()
    order = np.argsort(-probs, kind="stable")
    if sampling.top_k:
        probs[order[sampling.top_k :]] = 0
        probs /= probs.sum()
    before = np.concatenate(([0], np.cumsum(probs[order])[:-1]))
    probs[order[(before >= sampling.top_p) & (np.arange(len(order)) > 0)]] = 0
    probs[probs < sampling.min_p * probs.max()] = 0
    return probs / probs.sum()


@pytest.mark.parametrize(
    "rule",
    [{}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 4, "top_p": 0.8, "min_p": 0.1}, {"top_p": 0.05}],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution_of_the_rules(rule: dict, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, seed=3, **rule)
    draws = 4000
    chooser = Chooser(sampling, PROMPT, 0)
    counts = np.bincount([choose(LOGITS[None], [chooser])[0] for _ in range(draws)], minlength=6)
    wanted = _kept(LOGITS, sampling)
    assert (counts[wanted == 0] == 0).all()
    error = np.sqrt(draws * wanted * (1 - wanted)) + 1e-9
    assert (np.abs(counts - draws * wanted) <= 4.5 * error + 1).all()


def test_a_nucleus_wider_than_the_first_look_is_whole() -> None:
    """A flat distribution over 1,000 tokens: 95% of it is 950 tokens, not the 256 that are looked at first."""
    sampling = Sampling(temperature=1.0, top_p=0.95)
    chooser = Chooser(sampling, PROMPT, 0)
    logits = torch.linspace(0, 1e-3, 1000)[None]
    drawn = {choose(logits, [chooser])[0] for _ in range(6000)}
    assert len(drawn) > 900
    assert min(drawn) >= 1000 - 951


def test_greedy_takes_the_likeliest_and_draws_nothing() -> None:
    chooser = Chooser(Sampling(seed=1), PROMPT, 0)
    assert choose(LOGITS[None], [chooser]) == [0]
    assert chooser.draw() == Chooser(Sampling(seed=1), PROMPT, 0).draw()


def test_rows_are_independent_and_streams_differ_by_seed_and_answer() -> None:
    torch.manual_seed(0)
    logits = torch.randn(40, 300)
    samplings = [Sampling(temperature=(i % 4) * 0.5, top_k=(i % 3) * 20, seed=i) for i in range(40)]
    together = choose(logits, [Chooser(s, PROMPT, i) for i, s in enumerate(samplings)])
    alone = [choose(logits[i : i + 1], [Chooser(s, PROMPT, i)])[0] for i, s in enumerate(samplings)]
    assert together == alone
    streams = {tuple(Chooser(Sampling(seed=s), PROMPT, a).draw() for _ in range(2)) for s in range(5) for a in range(5)}
    assert len(streams) == 1 + 24  # every (seed, answer) has its own


def test_negative_and_huge_seeds_are_seeds() -> None:
    assert Chooser(Sampling(seed=-1), PROMPT, 0).draw() != Chooser(Sampling(seed=2**70), PROMPT, 0).draw()


def test_penalties() -> None:
    sampling = Sampling(repetition_penalty=2.0, presence_penalty=0.25, frequency_penalty=0.5)
    chooser = Chooser(sampling, PROMPT, 0)
    for token in (4, 4, 0):
        chooser.count(token)
    logits = LOGITS.clone()
    chooser.penalise(logits)
    # prompt and answer have 0, 1, 2 and 4: positive logits are halved, negative ones doubled; then by count
    wanted = torch.tensor([1.0 - 0.75, 0.5, 0.25, 0.0, -2.0 - 1.25, -3.0])
    torch.testing.assert_close(logits, wanted)


def test_presence_alone_leaves_the_prompt_alone() -> None:
    chooser = Chooser(Sampling(presence_penalty=1.0), PROMPT, 0)
    chooser.count(5)
    logits = LOGITS.clone()
    chooser.penalise(logits)
    torch.testing.assert_close(logits, torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -4.0]))


@given(st.integers(0, 10**6), st.floats(0.05, 3), st.integers(0, 12), st.floats(0.01, 1), st.floats(0, 1))
def test_what_is_drawn_has_a_probability(seed: int, temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed))
    logits[0, seed % 12] = -torch.inf
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    token = choose(logits, [Chooser(sampling, PROMPT, 0)])[0]
    assert token != seed % 12
    probs = torch.softmax(logits[0] / temperature, 0)
    assert probs[token] >= 0.999 * min_p * probs.max()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"top_k": -1},
        {"min_p": 1.5},
        {"repetition_penalty": 0},
        {"stop": ("",)},
        {"logprobs": -1},
    ],
    ids=str,
)
def test_impossible_sampling_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"needed|positive"):
        Sampling(**wrong)
