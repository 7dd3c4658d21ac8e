"""The door of OpenAI's API: chat, completions and embeddings, and no other of its endpoints.

Paths, fields, answers and errors are those of OpenAI's API reference and of its Python package
(``openai/types``). A graph takes part by the names of its inputs and outputs:

| endpoint | input | outputs |
|---|---|---|
| chat/completions | ``messages``, BYTES: the messages as JSON text | those of a text |
| completions | ``prompt``, else the only BYTES input; integers are tokens | those of a text |
| embeddings | ``input``, else the only BYTES input; integers are tokens | the only one of floats |

A text is the output ``text``, else the only BYTES output. Beside it there may be
``finish_reason``, ``tool_calls`` and ``logprobs`` (both JSON text), ``prompt_tokens`` and
``completion_tokens``. In a stream, texts are pieces, tool calls are deltas, counts are those so
far, and of the others the last that is not empty counts. Further inputs are fields of the body; all
other fields are parameters of the request. A graph with an input ``n`` gives that many texts
itself; others are evaluated as often.
"""
