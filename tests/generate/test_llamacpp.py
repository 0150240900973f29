"""llama.cpp as a decoder: on a float32 file it answers as the torch engine does, alone or together, anew or parked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_subjects import about_tiny, plan_of
from gguf_writing import random_model
from peft import LoraConfig, get_peft_model

from camelid.data.pack import Example
from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.errors import UserError
from camelid.generate.base import Request, Sampling
from camelid.generate.local import LiveGenerator, LocalGenerator
from camelid.model.export import write_model
from camelid.model.gguf_lora import write_lora
from camelid.model.layout import choose_layout
from camelid.model.llama_runtime import threads

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (pip install '.[gguf]')")

from camelid.generate.llamacpp import LlamaCppDecoder, _whole_blocks

TEXTS = ["Sort 3, 1, 2", "你好", "Sort 3, 1, 2 and 9 please", "a", "请排序：3、1、2"]


def _talk(text: str) -> Conversation:
    return Conversation((Message("user", text),), Origin("test", 1))


def _renderer() -> Renderer:
    about = about_tiny()
    return Renderer(about.vocabulary, about.template, 4096)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny Llama in float32 and an adapter for it."""
    folder = tmp_path_factory.mktemp("gguf")
    model = random_model("llama")
    planned = plan_of(model)
    write_model(folder / "base.gguf", model, planned, "f32")
    write_lora(folder / "lora.gguf", _adapted(model), planned.plan, planned.layout, kind="f32", name="tiny")
    return folder / "base.gguf", folder / "lora.gguf"


def _adapted(model: Any) -> Any:
    config = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(2)
    peft = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return peft.eval()


def _ours(*, adapted: bool = False) -> LiveGenerator:
    model = random_model("llama")
    model = _adapted(model).get_base_model() if adapted else model
    choose_layout(model, "tree")
    return LiveGenerator(model, _renderer())


@pytest.fixture
def served(files: tuple[Path, Path]) -> Iterator[LocalGenerator]:
    generator = LocalGenerator(
        lambda: LlamaCppDecoder(files[0], {"tuned": files[1]}, slots=3, cells=1200, precise=True),
        _renderer(),
        {"base": "", "tuned": "tuned"},
    )
    yield generator
    generator.close()


def test_answers_are_the_torch_engines_for_base_and_adapter_in_one_batch(served: LocalGenerator) -> None:
    sampling = Sampling(max_new_tokens=12, logprobs=1)
    requests = [Request(served.prepare(_talk(t)), sampling, name) for t in TEXTS for name in served.models]
    answers = served.generate_each(requests)
    base = _ours().generate([_talk(t) for t in TEXTS], sampling)
    tuned = _ours(adapted=True).generate([_talk(t) for t in TEXTS], sampling)
    for got, wanted in zip(answers, [a for pair in zip(base, tuned, strict=True) for a in pair], strict=True):
        assert (got.text, got.finish, got.completion_tokens) == (wanted.text, wanted.finish, wanted.completion_tokens)
        assert [s.logprob for s in got.scores] == pytest.approx([s.logprob for s in wanted.scores], abs=5e-3)
    assert base != tuned
    assert served.load == (0, 0)


def test_a_prompt_that_begins_as_a_finished_one_is_read_from_where_they_part(
    served: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [_talk("long beginning " * 6 + ending) for ending in ("one", "two")]
    sampling = Sampling(max_new_tokens=6)
    first = served.generate(prompts[:1], sampling)
    read = _counted(monkeypatch)
    assert served.generate(prompts[:1], sampling) == first
    assert read[0] == _last_block(served, prompts[0])  # the blocks before it were there
    second = served.generate(prompts[1:], sampling)
    other = _ours().generate(prompts[1:], sampling)
    assert second[0].text == other[0].text
    read.clear()
    tuned = Request(served.prepare(prompts[0]), Sampling(max_new_tokens=1), "tuned")
    served.generate_each([tuned])
    assert sum(read) == len(tuned.prompt)  # another adapter's keys and values are not its own


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each call from now on."""
    read: list[int] = []
    run = LlamaCppDecoder._run

    def counted(decoder: LlamaCppDecoder, count: int) -> None:
        read.append(count)
        run(decoder, count)

    monkeypatch.setattr(LlamaCppDecoder, "_run", counted)
    return read


def _last_block(generator: LocalGenerator, prompt: Conversation) -> int:
    length = len(generator.prepare(prompt))
    return length - _whole_blocks(length - 1)


def test_a_question_asked_again_has_the_same_answer_to_the_last_bit(files: tuple[Path, Path]) -> None:
    """In llama.cpp's usual rounding, whatever was asked between, if nothing runs beside it."""
    generator = LocalGenerator(lambda: LlamaCppDecoder(files[0], {}, slots=4), _renderer(), {"base": ""})
    talks = [_talk(head + text) for head in ("", "a long beginning of many words " * 8) for text in TEXTS]
    random = np.random.default_rng(4)
    first: dict[int, list[float]] = {}
    again = 0
    try:
        for _ in range(60):
            which, count = int(random.integers(len(talks))), int(random.choice([1, 1, 1, 3]))
            sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=which, logprobs=0)
            asked = [Request(generator.prepare(talks[which]), sampling, answer=i) for i in range(count)]
            scores = [score.logprob for score in generator.generate_each(asked)[0].scores]
            if count == 1:
                again += which in first
                assert scores == first.setdefault(which, scores)
    finally:
        generator.close()
    assert again > 30


def test_prompts_that_are_read_together_share_what_they_begin_with(
    served: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = _counted(monkeypatch)
    prompts = [_talk("long beginning " * 6 + ending) for ending in ("one", "two", "three")]
    sampling = Sampling(max_new_tokens=1)
    requests = [Request(served.prepare(prompt), sampling) for prompt in prompts]
    answers = served.generate_each(requests)
    assert [answer.text for answer in answers] == [a.text for a in _ours().generate(prompts, sampling)]
    assert sum(read) == len(requests[0].prompt) + sum(_last_block(served, prompt) for prompt in prompts[1:])


def test_answers_wait_for_cells_and_are_all_given(served: LocalGenerator) -> None:
    """Each may take 500 of 1,200 cells: two at a time in three slots, and what is parked gives way."""
    sampling = Sampling(max_new_tokens=440, stop=("zzz",), temperature=1.0, seed=2)
    requests = [Request(served.prepare(_talk(t * 2)), sampling) for t in TEXTS]
    limited = [Request(r.prompt, Sampling(max_new_tokens=20 + i)) for i, r in enumerate(requests)]
    answers = served.generate_each([*requests, *limited])
    assert [a.completion_tokens > 0 or a.finish == "stop" for a in answers] == [True] * 10
    wanted = _ours().generate_each([r.prompt.source for r in limited], [r.sampling for r in limited])  # type: ignore[misc]
    assert [a.text for a in answers[5:]] == [a.text for a in wanted]


def test_scores_and_embeddings_are_the_torch_models(served: LocalGenerator) -> None:
    ids = np.arange(5, 25, dtype=np.int32)
    weight = np.ones(20, np.float32)
    weight[0] = 0
    example = Example(ids, weight, 0)
    for name, adapted in (("base", False), ("tuned", True)):
        ours = _ours(adapted=adapted)
        assert served.score([example], name) == pytest.approx(ours.score([example]), abs=5e-3)
        ours.model.set_attn_implementation("sdpa")  # type: ignore[operator]
        with torch.no_grad():
            hidden = ours.model.get_decoder()(input_ids=torch.tensor(ids[None].astype(np.int64))).last_hidden_state[0]  # type: ignore[operator]
        prompt = served.prepare("x")
        row = served.embed([type(prompt)(ids, "x")], name)[0]
        np.testing.assert_allclose(row, hidden.mean(0).numpy(), atol=1e-4)
    # and answers afterwards are undisturbed
    sampling = Sampling(max_new_tokens=5)
    assert served.generate([_talk("a")], sampling)[0].text == _ours().generate([_talk("a")], sampling)[0].text


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF nonsense")
    with pytest.raises(UserError, match="cannot load it"):
        LlamaCppDecoder(path, {}, slots=1)


@pytest.mark.parametrize(("said", "wanted"), [("3", 3), ("", None), ("0", None), ("2,1", None)])
def test_llama_cpp_takes_as_many_threads_as_pytorch(
    said: str, wanted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(7)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads() == (wanted or 7)
