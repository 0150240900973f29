"""The bodies of requests, as OpenAI's clients send them. Strict: a text is no number, and an unknown field is refused.

Fields that OpenAI's clients send along and that ask for nothing (`user`, `metadata`, ...) are taken and change nothing;
fields that would ask for something that is not served here allow only the value that asks for nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from camelid.serve.settings import MOST_CHOICES

_INT64 = 2**63
Stop = Annotated[str, Field(min_length=1, max_length=256)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Ask(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class TextPart(_Ask):
    """A stretch of a message. Pictures, sounds and files are refused: nothing is ever fetched from an address."""

    type: Literal["text"]
    text: str


class CalledFunction(_Ask):
    """A call's function; `arguments` is JSON in a text, as OpenAI has it."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str = "{}"


class ToolCall(_Ask):
    """A call that the assistant made in an earlier turn."""

    id: Annotated[str, Field(max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(_Ask):
    """One turn of a chat; `developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=256)] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    refusal: str | None = None


class Function(_Ask):
    """A function that the model may call; `parameters` is a JSON schema of an object."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.\-]{1,64}$")]
    description: Annotated[str, Field(max_length=8192)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Ask):
    """OpenAI's wrapping of a function."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Ask):
    """The function that must be called."""

    name: Annotated[str, Field(max_length=64)]


class NamedTool(_Ask):
    """`tool_choice` that names a function."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(_Ask):
    """What `response_format` of type json_schema holds."""

    name: Annotated[str, Field(max_length=64)]
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = Field(default_factory=dict)
    strict: bool | None = None


class ResponseFormat(_Ask):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(_Ask):
    """`include_usage`: the stream's last chunk counts the tokens."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class SamplingAsk(_Ask):
    """The settings that both completions routes have."""

    model: Annotated[str, Field(max_length=512)] = ""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-_INT64, lt=_INT64)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # taken, and asking for nothing
    user: Annotated[str, Field(max_length=512)] | None = None
    logit_bias: Annotated[dict[str, Number], Field(max_length=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, in order."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def with_usage(self) -> bool:
        """Whether a stream's last chunk counts the tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatAsk(SamplingAsk):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    # taken, and asking for nothing
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionAsk(SamplingAsk):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] | None = None
    best_of: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    suffix: None = None

    @field_validator("prompt")
    @classmethod
    def _is_text(cls, prompt: str | list[str]) -> str | list[str]:
        if not prompt or (isinstance(prompt, list) and not all(prompt)):
            raise ValueError("an empty prompt gives nothing to go on from")
        return prompt


class EmbeddingAsk(_Ask):
    """POST /v1/embeddings."""

    model: Annotated[str, Field(max_length=512)] = ""
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=256)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None
    user: Annotated[str, Field(max_length=512)] | None = None


class VoteMessage(_Ask):
    """A turn of a vote."""

    role: Literal["system", "user", "assistant"]
    content: str


class Vote(_Ask):
    """POST /v1/camelid/votes."""

    prompt: Annotated[list[VoteMessage], Field(min_length=1, max_length=1024)]
    chosen: Annotated[list[VoteMessage], Field(min_length=1, max_length=64)]
    rejected: Annotated[list[VoteMessage], Field(min_length=1, max_length=64)]
    model_chosen: Annotated[str, Field(max_length=512)]
    model_rejected: Annotated[str, Field(max_length=512)]
    language: Annotated[str, Field(pattern=r"^[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8}){0,3}$")] = "und"
    tie: bool = False
    both_bad: bool = False
