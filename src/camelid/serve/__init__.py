"""An OpenAI-compatible server over any `Generator`, with the page that talks to it.

The contract, for clients and for the page's author. Everything is JSON (UTF-8) under a bearer key:
`Authorization: Bearer KEY`. Only `/`, `/page/<file>` and `/healthz` answer without one. The page finds the key in the
fragment of the address that `camelid serve` prints (`http://127.0.0.1:8000/#key=...`; a fragment is never sent), keeps
it in sessionStorage, and sends the header itself. There are no cookies and no CORS: pages of other origins are refused.

| route | does |
|---|---|
| GET /v1/models, /v1/models/{id} | the base and its adapters, each a model of its own |
| POST /v1/chat/completions | OpenAI's, with `stream`, `n`, `stop`, `seed`, `logprobs`, `response_format`, `tools` |
| POST /v1/completions | OpenAI's legacy form: running text, no template |
| POST /v1/embeddings | the mean of the last hidden states of each input's tokens, `float` or `base64` |
| GET /v1/camelid/info | `{models: [{id, kind, template}], context, slots, engine, votes_file, version}` |
| POST /v1/camelid/votes | keeps a vote between two answers (below) |
| GET /healthz | `{"status": "ok"}` while the process lives |
| GET /readyz | 200 once the engine has just made a token, else 503 |
| GET /metrics | Prometheus' text format |
| GET /, /page/{file} | the page, from memory, under a CSP that allows no inline script or style |

`kind` is `base` or `adapter`; `context` is 0 where the engine does not know it. Beside OpenAI's settings the two
completions routes take `top_k`, `min_p` and `repetition_penalty`. Settings that are not served are refused by name,
never passed over.

A stream is Server-Sent Events: `data: {chunk}` ... `data: [DONE]`; lines that begin with `:` keep the connection alive.
A fault after the first chunk is `data: {"error": {...}}`, and the stream ends without [DONE]. Every other fault is a
status and `{"error": {"message", "type", "param", "code"}}`: 400 (`context_length_exceeded` names both counts), 401,
403 (origin), 404 (`model_not_found`), 405, 408 (slow body), 413, 415, 429 (full; with Retry-After), 500, 503 (draining,
timed out, or the vote was not saved).

A vote is `{"prompt": [messages], "chosen": [messages], "rejected": [messages], "model_chosen", "model_rejected",
"language", "tie": false, "both_bad": false}`; a message is `{"role", "content"}`, `chosen` and `rejected` are what
followed the prompt and end with the assistant; `language` is a tag such as `zh` or `en`. The answer is `{"saved": true,
"file": NAME}`, given once the line is on the disk. Preferences go to the votes file in TRL's form, which
`camelid train` reads as it is; votes with `tie` or `both_bad` (in which the order of the two answers means nothing) go
to a file beside it, `votes.ties.jsonl` for `votes.jsonl`, so that no reader takes one for a preference.
"""
