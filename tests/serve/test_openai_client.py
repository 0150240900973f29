"""The official `openai` client against every endpoint, over any generator: what its users rely on.

A further engine joins by a line in `ENGINES`. What an echo says is known to the letter; of a real model only what
must hold for any is asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import KEY, Served, serving

from camelid.generate.base import Generator
from camelid.generate.echo import EchoGenerator
from camelid.generate.opening import Engine, Wanted, open_generator
from camelid.model.llama_runtime import llama_cpp_installed


def loaded(name: str, engine: Engine = "auto") -> Generator:
    """A real model in float32, whose answers do not depend on the machine."""
    return open_generator(Wanted(name, engine=engine, slots=8, dtype="float32"), lambda line: None).generator


ENGINES: dict[str, Callable[[], Generator]] = {
    "echo": lambda: EchoGenerator(delay=0.001),
    "nano": lambda: loaded("nano"),
    "smollm2": lambda: loaded("smollm2"),  # in llama.cpp, where that is installed
    "smollm2-local": lambda: loaded("smollm2", "local"),
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CALL = '{"name": "get_weather", "arguments": {"city": "北京", "unit": "C"}}'


@pytest.fixture(
    scope="module", params=["echo", *(pytest.param(name, marks=pytest.mark.slow) for name in list(ENGINES)[1:])]
)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(ENGINES[request.param]()) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
def model(served: Served) -> str:
    return served.service.generator.models[0]


@pytest.fixture
def echoes(served: Served) -> bool:
    return isinstance(served.service.generator, EchoGenerator)


@pytest.fixture
def in_llama_cpp(request: pytest.FixtureRequest) -> bool:
    return request.node.callspec.params["served"] == "smollm2" and llama_cpp_installed()


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_models(client: OpenAI, model: str) -> None:
    assert model in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"


def test_chat(client: OpenAI, model: str, echoes: bool) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, *user("你好 hello 🐫")]
    done = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=24)
    (choice,) = done.choices
    assert done.object == "chat.completion"
    assert done.model == model
    assert choice.message.role == "assistant"
    assert isinstance(choice.message.content, str)
    assert choice.finish_reason in ("stop", "length")
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done._request_id
    if echoes:
        assert choice.message.content == "你好 hello 🐫"
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (9 + 10, 10)


def test_stream_is_the_whole(client: OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": user("数到五 count to five"), "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert "\ufffd" not in text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_stream_comes_in_pieces(client: OpenAI, model: str) -> None:
    chunks = list(client.chat.completions.create(model=model, messages=user("x" * 40), stream=True, max_tokens=40))
    assert len(chunks) > 5


def test_stream_helper(client: OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=user("hello"), max_tokens=8) as stream:
        for _ in stream:
            pass
        assert stream.current_completion_snapshot.choices[0].message.role == "assistant"


def test_n(client: OpenAI, model: str, in_llama_cpp: bool) -> None:
    done = client.chat.completions.create(model=model, messages=user("hi"), n=3, max_tokens=8, temperature=1.0, seed=1)
    assert [choice.index for choice in done.choices] == [0, 1, 2]
    one = client.chat.completions.create(model=model, messages=user("hi"), max_tokens=8, temperature=1.0, seed=1)
    assert done.usage is not None
    assert one.usage is not None
    assert done.usage.prompt_tokens == one.usage.prompt_tokens
    if not in_llama_cpp:  # its products round otherwise for one answer than for three
        assert done.choices[0].message.content == one.choices[0].message.content
    chunks = client.chat.completions.create(model=model, messages=user("hi"), n=3, max_tokens=8, stream=True, seed=1)
    ended = [c.choices[0].index for c in chunks if c.choices and c.choices[0].finish_reason]
    assert sorted(ended) == [0, 1, 2]


def test_stop(client: OpenAI, model: str, echoes: bool) -> None:
    done = client.chat.completions.create(model=model, messages=user("one two three"), stop=["two", "e"], max_tokens=32)
    text = done.choices[0].message.content or ""
    assert "two" not in text
    assert "e" not in text
    chunks = client.chat.completions.create(
        model=model, messages=user("one two three"), stop=" two", max_tokens=32, stream=True, temperature=0
    )
    streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert " two" not in streamed
    if echoes:
        assert (text, streamed, done.choices[0].finish_reason) == ("on", "one", "stop")


def test_seed(client: OpenAI, model: str) -> None:
    def once(seed: int) -> str | None:
        asked = client.chat.completions.create(model=model, messages=user("tell me"), seed=seed, max_tokens=16)
        return asked.choices[0].message.content

    assert once(7) == once(7)
    assert once(-(2**63)) == once(-(2**63))


def test_length(client: OpenAI, model: str) -> None:
    done = client.chat.completions.create(model=model, messages=user("abcdef"), max_completion_tokens=3)
    assert done.usage is not None
    assert done.usage.completion_tokens <= 3
    assert done.choices[0].finish_reason == "length"


def test_logprobs(client: OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": user("abc"), "max_tokens": 6, "temperature": 0}
    done = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    logprobs = done.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert done.usage is not None
    assert len(logprobs.content) >= done.usage.completion_tokens
    for token in logprobs.content:
        assert token.logprob <= 0
        assert token.bytes is not None
        assert len(token.top_logprobs) <= 2
    streamed = []
    for chunk in client.chat.completions.create(**asked, logprobs=True, top_logprobs=2, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content or []
    assert [t.token for t in streamed] == [t.token for t in logprobs.content]


def test_completions(client: OpenAI, model: str, echoes: bool) -> None:
    done = client.completions.create(
        model=model, prompt=["one", "从前有座山"], n=2, max_tokens=4, logprobs=1, temperature=0
    )
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    logprobs = done.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens
    assert logprobs.token_logprobs
    assert logprobs.text_offset
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
    if echoes:
        assert [choice.text for choice in done.choices] == ["one", "one", "从前有座", "从前有座"]
        assert [choice.finish_reason for choice in done.choices] == ["stop", "stop", "length", "length"]
        assert done.usage is not None
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (3 + 5, 3 + 3 + 4 + 4)
    streamed = list(client.completions.create(model=model, prompt="one two", max_tokens=4, stream=True, temperature=0))
    whole = client.completions.create(model=model, prompt="one two", max_tokens=4, temperature=0)
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text


def test_embeddings(client: OpenAI, model: str) -> None:
    made = client.embeddings.create(model=model, input=["abc", "你好", "abc"])
    floats = client.embeddings.create(model=model, input="abc", encoding_format="float")
    assert [entry.index for entry in made.data] == [0, 1, 2]
    assert made.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-5)
    assert made.data[0].embedding == pytest.approx(made.data[2].embedding, abs=1e-5)
    assert made.data[0].embedding != made.data[1].embedding
    assert made.usage.prompt_tokens == made.usage.total_tokens > 0


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_that_is_required(client: OpenAI, model: str, choice: Any) -> None:
    """An echo repeats the call that it is given; a model is held to the schema."""
    done = client.chat.completions.create(
        model=model, messages=user(CALL), tools=[WEATHER], tool_choice=choice, max_tokens=128, temperature=0
    )
    assert done.choices[0].finish_reason == "tool_calls"
    calls = done.choices[0].message.tool_calls
    assert calls
    (call,) = calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in ("C", "F")
    told: Any = [
        *user("Weather in 北京?"),
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "21 C"},
    ]
    after = client.chat.completions.create(model=model, messages=told, tools=[WEATHER], max_tokens=16)
    assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_streamed_call(client: OpenAI, model: str) -> None:
    chunks = client.chat.completions.create(
        model=model, messages=user(CALL), tools=[WEATHER], tool_choice="required", max_tokens=128, stream=True
    )
    parts, finish, text = [], None, ""
    for chunk in chunks:
        for choice in chunk.choices:
            parts += choice.delta.tool_calls or []
            finish = choice.finish_reason or finish
            text += choice.delta.content or ""
    assert finish == "tool_calls"
    assert text == ""
    assert parts[0].id
    assert parts[0].index == 0
    assert json.loads("".join(part.function.arguments for part in parts))["unit"] in ("C", "F")


def test_calls_of_free_choice(client: OpenAI, model: str, echoes: bool) -> None:
    if not echoes:
        pytest.skip("what a model chooses is not known")
    text = f"Let me look.\n<tool_call>\n{CALL}\n</tool_call>"
    done = client.chat.completions.create(model=model, messages=user(text), tools=[WEATHER])
    assert done.choices[0].message.content == "Let me look."
    assert len(done.choices[0].message.tool_calls or []) == 1
    none = client.chat.completions.create(model=model, messages=user(text), tools=[WEATHER], tool_choice="none")
    assert none.choices[0].message.content == text
    assert none.choices[0].message.tool_calls is None


def test_json_formats(client: OpenAI, model: str, echoes: bool) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema["additionalProperties"] = False
    form: Any = {"type": "json_schema", "json_schema": {"name": "A", "schema": schema, "strict": True}}
    done = client.chat.completions.create(
        model=model, messages=user('{"a": true}'), response_format=form, max_tokens=64, temperature=0
    )
    assert set(json.loads(done.choices[0].message.content or "")) == {"a"}
    done = client.chat.completions.create(
        model=model, messages=user('{"b": 1}'), response_format={"type": "json_object"}, max_tokens=64, temperature=0
    )
    if echoes or done.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(done.choices[0].message.content or ""), dict)


# -- faults ----------------------------------------------------------------------------------------------------------


def test_a_wrong_key(served: Served, model: str) -> None:
    with OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"


def test_an_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-5", messages=user("hi"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_context_overflow_names_both_counts(client: OpenAI, model: str, served: Served) -> None:
    context = served.service.generator.context
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=user("hi " * context))
    assert caught.value.code == "context_length_exceeded"
    assert str(context) in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=model, prompt="hi", max_tokens=context)
    assert caught.value.code == "context_length_exceeded"
    assert str(context) in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=model, input="hi " * context)
    assert caught.value.code == "context_length_exceeded"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 3}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"stream": "true"}, "stream"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
    ({"stop": [""]}, "stop"),
    ({"seed": 2**63}, "seed"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"frobnicate": 1}, "frobnicate"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "never"}]}, "messages.0.tool_call_id"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [WEATHER, WEATHER]}, "tools"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[json.dumps(f)[:60] for f, _ in WRONG])
def test_what_cannot_be_is_refused_by_name(client: OpenAI, model: str, fields: dict[str, Any], param: str) -> None:
    body = {"model": model, "messages": user("hi"), **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.param is not None
    assert caught.value.param.startswith(param)
    assert caught.value.type == "invalid_request_error"


def test_pictures_are_refused_and_never_fetched(client: OpenAI, model: str) -> None:
    part: Any = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": [part]}])
    assert (caught.value.param or "").startswith("messages.0.content")
