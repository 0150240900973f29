"""From a request's settings to the engine's `Sampling`, one for each answer."""

from __future__ import annotations

import json
import secrets
from typing import Any

from camelid.generate.base import Sampling
from camelid.serve.asks import ChatAsk, ResponseFormat, SamplingAsk
from camelid.serve.faults import ApiFault


def sampling_of(ask: SamplingAsk, *, logprobs: int | None, schema: str | None, max_new_tokens: int) -> Sampling:
    """OpenAI's defaults where the request says nothing: temperature 1, top_p 1. Without a seed one is drawn.

    Raises ApiFault 400 for settings that cannot be.
    """
    seed = ask.seed if ask.seed is not None else secrets.randbelow(2**31)
    given = {
        name: value
        for name in ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        if (value := ask.model_dump(include={name})[name]) is not None
    }
    try:
        return Sampling(
            max_new_tokens=max_new_tokens,
            temperature=1.0 if ask.temperature is None else ask.temperature,
            seed=seed % 2**63,
            stop=ask.stops,
            logprobs=logprobs,
            schema=schema,
            **given,
        )
    except ValueError as error:
        raise ApiFault(400, str(error)) from error


def response_schema(ask: ChatAsk) -> str | None:
    """The JSON schema that `response_format` holds the answer to. Raises ApiFault 400."""
    form = ask.response_format
    if form is None or form.type == "text":
        return None
    if ask.tools and ask.tool_choice != "none":
        what = "an answer cannot be held to response_format while tools may be called; set tool_choice to none"
        raise ApiFault(400, what, param="response_format")
    return _schema(form)


def _schema(form: ResponseFormat) -> str:
    if form.type == "json_object":
        return '{"type": "object"}'
    if form.json_schema is None:
        place = "response_format.json_schema"
        raise ApiFault(400, f"{place} is missing", param=place, code="missing_required_parameter")
    check_schema(form.json_schema.schema_, "response_format.json_schema.schema")
    return json.dumps(form.json_schema.schema_, ensure_ascii=False)


def check_schema(schema: dict[str, Any], param: str) -> None:
    """Refuse a schema that lives elsewhere: nothing is fetched. Raises ApiFault 400."""
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            target = value.get("$ref")
            if isinstance(target, str) and not target.startswith("#"):
                raise ApiFault(400, "$ref must stay inside the schema: nothing is fetched", param=param)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
