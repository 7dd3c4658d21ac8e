"""The runtime ``huggingface`` on small models made here: BERT, GPT-2 and a tokenizer."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from importlib.util import find_spec

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.tensors.types import TypeConflict, typed
from anabranch.errors import ArtefactError, InvalidRequest, LoadError
from anabranch.graph.compile.loading import load_data
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from anabranch.telemetry.logs import REQUESTS

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = [
    pytest.mark.slow,  # transformers takes seconds to import
    pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed"),
]

TEXTS = [
    "a stream leaves the river",
    "it runs its own course and joins the river again",
    "good water",
    "grün",
]
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 48,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 48}
CHAT = (
    "{% if messages[0]['role'] == 'bad' %}{{ raise_exception('roles must be good') }}{% endif %}"
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} [SEP] {% endfor %}"
    "{% if tools %}{{ tools | length }} {% endif %}"
    "{% if add_generation_prompt %}river{% endif %}"
)
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def array(*texts):
    return np.array(texts, object)


@pytest.fixture(scope="module")
def transformers():
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


@pytest.fixture(scope="module")
def tokenizer(transformers):
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = list(SPECIAL.values())
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", special.index("[CLS]")), ("[SEP]", special.index("[SEP]"))],
    )
    made.decoder = tokenizers.decoders.WordPiece()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=48, **SPECIAL
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory, transformers, tokenizer):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    size = len(tokenizer)
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    bert = transformers.BertConfig(
        vocab_size=size,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
        **BERT,
    )
    gpt = transformers.GPT2Config(
        vocab_size=size, bos_token_id=2, eos_token_id=None, pad_token_id=0, **GPT
    )
    models = {
        "classes": transformers.BertForSequenceClassification(bert),
        "tokens": transformers.BertForTokenClassification(bert),
        "masked": transformers.BertForMaskedLM(bert),
        "plain": transformers.BertModel(bert),
        "gpt": transformers.GPT2LMHeadModel(gpt),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / "tokenizer")
    models["gpt"].save_pretrained(folder / "chat")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder / "chat")
    tokenizer.chat_template = None
    pickled = folder / "pickled"
    tokenizer.save_pretrained(pickled)
    bert.save_pretrained(pickled)
    torch.save(models["classes"].state_dict(), pickled / "pytorch_model.bin")
    own_code = folder / "own-code"
    models["plain"].save_pretrained(own_code)
    tokenizer.save_pretrained(own_code)
    config = json.loads((own_code / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.M"}}
    (own_code / "config.json").write_text(json.dumps(config))
    (own_code / "mine.py").write_text("raise SystemExit('this code ran')")
    (folder / "empty").mkdir()
    (folder / "file.safetensors").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def predictor(node, root):
    def make(model, task, **args):
        fields = {"type": "predictor", "runtime": "huggingface", "model": model}
        return bind("n", node(**fields, args={"task": task, "device": "cpu", **args}), root)

    return make


@pytest.fixture
def pipeline(transformers, root):
    def make(task, model, **options):
        made = transformers.pipeline(task, model=str(root / model), device="cpu")
        return [made(text, **options) for text in TEXTS]

    return make


def test_text_classification(predictor, pipeline):
    bound = predictor("classes", "text-classification")
    asyncio.run(bound.load())
    found = bound.call(x=array(*TEXTS))
    expected = [row[0] for row in pipeline("text-classification", "classes")]
    assert found["labels"].tolist() == [row["label"] for row in expected]
    np.testing.assert_allclose(found["scores"], [row["score"] for row in expected], rtol=1e-5)
    assert found["scores"].dtype == np.float32


def test_the_best_few_classes(predictor, pipeline):
    found = predictor("classes", "text-classification", options={"top_k": 2}).call(x=array(*TEXTS))
    expected = pipeline("text-classification", "classes", top_k=2)
    assert found["labels"].tolist() == [[one["label"] for one in row] for row in expected]
    assert found["scores"].shape == (4, 2)


def test_token_classification(predictor, pipeline):
    found = predictor("tokens", "token-classification").call(x=array(*TEXTS))
    rows = [json.loads(text) for text in found]
    expected = pipeline("token-classification", "tokens")
    assert [[one["word"] for one in row] for row in rows] == [
        [one["word"] for one in row] for row in expected
    ]
    assert rows[0][0]["score"] == pytest.approx(float(expected[0][0]["score"]), rel=1e-4)


@pytest.mark.parametrize("top_k", [None, 1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_masks_are_filled(predictor, transformers, root, top_k, count):
    texts = ["the [MASK] river", "good [MASK]"][:count]
    options = {} if top_k is None else {"top_k": top_k}
    bound = predictor("masked", "fill-mask", options=options)
    asyncio.run(bound.load())
    found = bound.call(x=array(*texts))
    made = transformers.pipeline("fill-mask", model=str(root / "masked"), device="cpu")
    expected = [made(text, top_k=top_k or 1) for text in texts]
    tokens = [[one["token_str"] for one in row] for row in expected]
    assert found["tokens"].tolist() == (tokens if top_k else [row[0] for row in tokens])
    assert found["scores"].shape == ((count,) if top_k is None else (count, top_k))
    with pytest.raises(InvalidRequest, match=r"exactly one \[MASK\]"):
        bound.call(x=array("no mask"))
    with pytest.raises(InvalidRequest, match=r"text 0 has 53 tokens; the model takes 48 in all"):
        bound.call(x=array("[MASK] " + "river " * 50))


def test_zero_shot_classification(predictor, pipeline):
    labels = ["water", "river", "good"]
    options = {"candidate_labels": labels, "multi_label": True}
    found = predictor("classes", "zero-shot-classification", options=options).call(x=array(*TEXTS))
    expected = pipeline("zero-shot-classification", "classes", **options)
    for row, one in zip(found, expected, strict=True):
        by_label = dict(zip(one["labels"], one["scores"], strict=True))
        np.testing.assert_allclose(row, [by_label[label] for label in labels], rtol=1e-4)


def test_embeddings_do_not_depend_on_the_batch(predictor, pipeline):
    bound = predictor("plain", "feature-extraction")
    found = bound.call(x=array(*TEXTS))
    expected = [np.mean(row[0], axis=0) for row in pipeline("feature-extraction", "plain")]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    narrow = predictor("plain", "feature-extraction", dtype="bf16").call(x=array(*TEXTS))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, found, atol=0.1)


def test_tokens(predictor, tokenizer):
    found = predictor("tokenizer", "tokenize").call(x=array(*TEXTS[:2], b"good water"))
    expected = tokenizer([*TEXTS[:2], "good water"], padding=True)
    assert found["input_ids"].tolist() == expected["input_ids"]
    assert found["attention_mask"].tolist() == expected["attention_mask"]
    assert found["input_ids"].dtype == np.int64
    long = predictor("tokenizer", "tokenize").call(x=array("river " * 500))
    assert long["input_ids"].shape == (1, 48)


VISIBLE = {"do_sample": False, "suppress_tokens": [0, 1, 2, 3, 4], "no_repeat_ngram_size": 1}
OPTIONS = {"max_new_tokens": 8, **VISIBLE}


def generated(pipeline):
    rows = pipeline("text-generation", "gpt", return_full_text=False, **OPTIONS)
    return [row[0]["generated_text"] for row in rows]


def test_text_generation(predictor, pipeline):
    bound = predictor("gpt", "text-generation", options=OPTIONS)
    found = bound.call(x=array(TEXTS[0]), context=Context())
    assert found.tolist() == generated(pipeline)[:1]
    assert len(found[0].split()) > 1
    assert bound.call(x=array(*TEXTS), context=Context()).shape == (4,)


def test_a_request_may_ask_for_shorter_texts(predictor):
    bound = predictor("gpt", "text-generation", options=OPTIONS)

    def tokens(**parameters):
        context = Context(parameters=parameters)
        (text,) = bound.call(x=array(TEXTS[0]), context=context)
        return len(text.split())

    assert tokens(max_new_tokens=2) < tokens() == tokens(max_new_tokens=1000)
    with pytest.raises(InvalidRequest, match="max_new_tokens must be a whole number"):
        tokens(max_new_tokens=0)


def test_a_batch_takes_no_length_from_a_request(node, root):
    fields = {"type": "predictor", "runtime": "huggingface", "model": "gpt"}
    args = {"task": "text-generation", "device": "cpu", "options": OPTIONS}
    bound = bind("n", node(**fields, args=args, batching={"max_size": 4}), root)
    assert bound.call(x=array(*TEXTS)).shape == (4,)
    set_back = REQUESTS.set((Context(), Context(parameters={"max_new_tokens": 2})))
    try:
        with pytest.raises(InvalidRequest, match="max_new_tokens is not taken here"):
            bound.call(x=array(*TEXTS))
    finally:
        REQUESTS.reset(set_back)


@pytest.mark.parametrize("stream", [False, True])
def test_no_text_is_longer_than_the_model_takes(predictor, stream):
    """A prompt that leaves no room is the caller's mistake; others get what fits."""
    options = {**OPTIONS, "max_new_tokens": 40}
    bound = predictor("gpt", "text-generation", options=options, stream=stream)

    def answer(*texts):
        if stream:
            return ["".join(piece[0] for piece in asyncio.run(collect(bound, texts[0])))]
        return bound.call(x=array(*texts), context=Context()).tolist()

    long = "river " * 40
    assert answer(long)[0]
    if not stream:
        assert answer(long, TEXTS[0]) == [*answer(long), *answer(TEXTS[0])]
    with pytest.raises(InvalidRequest, match="text 0 has 48 tokens, and 1 more is to follow; the "):
        answer("river " * 46)


def test_texts_are_cut_to_what_the_model_takes(predictor, root, tmp_path, tokenizer):
    """Also where only the model knows its limit."""
    long, cut = "river " * 500, "river " * 46
    for model, task in (("classes", "text-classification"), ("plain", "feature-extraction"),
                        ("tokens", "token-classification")):  # fmt: skip
        found = predictor(model, task).call(x=array(long, cut))
        for rows in found.values() if isinstance(found, dict) else [found]:
            if rows.dtype == object:
                words = [
                    [one.get("word") for one in json.loads(row)] for row in rows if row[0] == "["
                ]
                assert rows[0] == rows[1] if not words else words[0] == words[1]
            else:
                np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    config = root / "plain" / "tokenizer_config.json"
    known = config.read_text()
    try:
        config.write_text(json.dumps({**json.loads(known), "model_max_length": 10**30}))
        found = predictor("plain", "feature-extraction").call(x=array(long, cut))
        np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    finally:
        config.write_text(known)


def test_an_empty_text_without_tokens_is_the_caller_s_mistake(node, root, tmp_path):
    for model in ("gpt", "plain"):
        shutil.copytree(root / model, tmp_path / model)
        file = tmp_path / model / "tokenizer.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "post_processor": None}))
    for model, task in (("gpt", "text-generation"), ("plain", "feature-extraction")):
        fields = {"type": "predictor", "runtime": "huggingface", "model": model}
        bound = bind("n", node(**fields, args={"task": task, "device": "cpu"}), tmp_path)
        more = {"context": Context()} if task == "text-generation" else {}
        with pytest.raises(InvalidRequest, match="text 1 is empty: it has no tokens"):
            bound.call(x=array("good", ""), **more)


async def collect(bound, text, **parameters):
    context = Context(parameters=parameters)
    return [piece async for piece in bound.call(x=array(text), context=context)]


def text_of(pieces):
    """The text of a stream; some versions decode it together with the prompt, some alone."""
    return "".join(piece[0] for piece in pieces).strip().removeprefix("##")


def test_streams_give_the_same_text_in_pieces(predictor, pipeline):
    bound = predictor("gpt", "text-generation", options=OPTIONS, stream=True)
    assert bound.is_stream
    pieces = asyncio.run(collect(bound, TEXTS[0]))
    assert len(pieces) > 1
    assert all(piece.shape == (1,) for piece in pieces)
    assert text_of(pieces) == generated(pipeline)[0].strip()
    fewer = asyncio.run(collect(bound, TEXTS[0], max_new_tokens=2))
    assert "".join(piece[0] for piece in pieces).startswith("".join(piece[0] for piece in fewer))
    more = asyncio.run(collect(bound, TEXTS[0], max_new_tokens=1000))
    assert [piece.tolist() for piece in more] == [piece.tolist() for piece in pieces]
    asyncio.run(bound.unload())


def test_streams_side_by_side(predictor, pipeline):
    bound = predictor("gpt", "text-generation", options=OPTIONS, stream=True)

    async def run():
        return await asyncio.gather(*(collect(bound, text) for text in TEXTS))

    found = [text_of(pieces) for pieces in asyncio.run(run())]
    assert found == [text.strip() for text in generated(pipeline)]
    asyncio.run(bound.unload())


@pytest.mark.parametrize("value", [0, True, "x", 1.5])
def test_a_stream_s_parameter_must_be_a_number(predictor, value):
    bound = predictor("gpt", "text-generation", stream=True)
    with pytest.raises(InvalidRequest, match="max_new_tokens must be a whole number"):
        asyncio.run(collect(bound, "good", max_new_tokens=value))


def test_an_error_in_a_stream_reaches_its_reader(predictor):
    bound = predictor("gpt", "text-generation", options={"no_such_option": 4}, stream=True)
    with pytest.raises(ValueError, match="no_such_option"):
        asyncio.run(collect(bound, "good"))


def test_generation_ends_when_nobody_listens(predictor):
    options = {"max_new_tokens": 40, **VISIBLE}
    bound = predictor("gpt", "text-generation", options=options, stream=True)
    model = bound.instance._streamer._parts.model
    received, closed, steps = threading.Event(), threading.Event(), []

    def step(*_):
        steps.append(1)
        if received.is_set():
            closed.wait(60)

    model.register_forward_pre_hook(step)

    async def run():
        stream = bound.call(x=array("good"), context=Context())
        await anext(stream)
        received.set()
        before = len(steps)
        await stream.aclose()
        closed.set()
        return before

    before = asyncio.run(run())
    bound.instance._streamer._threads.shutdown(wait=True)
    assert len(steps) <= before + 1


HELLO = json.dumps([{"role": "water", "content": "good"}])


async def chat(bound, messages=HELLO, **parameters):
    stream = bound.call(x=array(messages), context=Context(parameters=parameters))
    return [{name: one[0] for name, one in piece.items()} async for piece in stream]


def chatted(bound, messages=HELLO, **parameters):
    """The text of a chat, its end and its numbers of tokens."""
    *pieces, last = asyncio.run(chat(bound, messages, **parameters))
    assert all(not piece["finish_reason"] for piece in pieces)
    text = "".join(piece["text"] for piece in pieces)
    return text, *(last[name] for name in ("finish_reason", "prompt_tokens", "completion_tokens"))


@pytest.fixture
def chatting(predictor):
    bound = predictor("chat", "chat", options=OPTIONS)
    yield bound
    asyncio.run(bound.unload())


def test_a_chat_is_rendered_by_the_template(chatting, transformers, root):
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "chat")
    model = transformers.AutoModelForCausalLM.from_pretrained(root / "chat")
    ids = tokenizer("water good [SEP] river", add_special_tokens=False, return_tensors="pt")
    asked = {name: ids[name] for name in ("input_ids", "attention_mask")}
    expected = model.generate(**asked, **OPTIONS)[0][ids["input_ids"].shape[1] :]
    text, reason, prompt, completion = chatted(chatting)
    assert text_of([[text]]) == text_of([[tokenizer.decode(expected, skip_special_tokens=True)]])
    assert (reason, prompt, completion) == ("length", ids["input_ids"].shape[1], len(expected))
    tools = json.dumps([{"type": "function", "function": {"name": "f"}}])
    assert chatted(chatting, tools=tools)[2] > prompt


def test_a_chat_has_one_answer_too(chatting):
    assert chatting.join is not None
    pieces = [{name: array(one) if isinstance(one, str) else np.array([one]) for name, one
               in piece.items()} for piece in asyncio.run(chat(chatting))]  # fmt: skip
    whole = chatting.join(pieces)
    found = [whole[name][0] for name in ("text", "finish_reason", "prompt_tokens")]
    assert tuple(found) == chatted(chatting)[:3]


def test_a_request_says_how_long_and_how_wild_its_text_is(chatting):
    assert chatted(chatting, max_tokens=1)[1:] == ("length", *chatted(chatting)[2:3], 1)
    assert chatted(chatting, max_completion_tokens=1)[3] == 1
    plain = chatted(chatting)
    assert chatted(chatting, temperature=0, top_p=0.5) == plain
    drawn = [chatted(chatting, temperature=2, seed=seed) for seed in (1, 2, 3, 1, 2, 3)]
    assert drawn[:3] == drawn[3:]
    assert len(set(drawn)) > 1


def test_a_text_ends_before_a_stop_sequence(chatting):
    text, _, _, tokens = chatted(chatting)
    middle = text.strip()[2:4]
    short, reason, _, fewer = chatted(chatting, stop=json.dumps([middle, "never"]))
    assert (short, reason) == (text[: text.index(middle)], "stop")
    assert fewer <= tokens
    assert chatted(chatting, stop="never") == chatted(chatting)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"temperature": 3}, "temperature must be a number from 0 to 2"),
        ({"top_p": "x"}, "top_p must be a number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"max_tokens": 0}, "max_tokens must be a whole number"),
        ({"stop": "[1]"}, "'stop' must be a text, or a list"),
        ({"stop": json.dumps(["x"] * 17)}, "has 17 texts; at most 16"),
        ({"n": 2}, "does not know the parameter 'n'"),
        ({"presence_penalty": 0.5}, "does not know the parameter 'presence_penalty'"),
        ({"tools": "{"}, "tools must be a list"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told(chatting, parameters, words):
    with pytest.raises(InvalidRequest, match=words):
        asyncio.run(chat(chatting, **parameters))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hello", "messages must be a list in JSON"),
        ("[]", "at least one message"),
        ("[1]", "list of objects"),
        ('[{"role": "bad"}]', "template refuses the messages: roles must be good"),
        (json.dumps([{"role": "water", "content": "good " * 60}]), "the model takes 48"),
    ],
)
def test_messages_that_are_none_are_told(chatting, messages, words):
    with pytest.raises(InvalidRequest, match=words):
        asyncio.run(chat(chatting, messages))


def test_nobody_waits_for_texts_that_are_none(predictor):
    bound = predictor("plain", "feature-extraction")
    for wrong in (np.zeros(2), array("a").reshape(1, 1), array()):
        with pytest.raises(InvalidRequest, match=r"texts must be BYTES of shape \[rows\]"):
            bound.call(x=wrong)
    stream = predictor("gpt", "text-generation", stream=True)
    with pytest.raises(InvalidRequest, match="takes one text, got 2"):
        asyncio.run(anext(stream.call(x=array("a", "b"), context=Context())))


@pytest.mark.parametrize(
    ("model", "task", "args", "message"),
    [
        ("pickled", "text-classification", {}, "no .safetensors, and weights in pickles could run"),
        ("own-code", "feature-extraction", {}, "cannot load own-code|own-code: "),
        ("empty", "text-classification", {}, "no config.json among its files: none"),
        ("file.safetensors", "fill-mask", {}, "is a file: name the folder"),
        ("classes", "translation", {}, "'translation' is not one of text-classification, "),
        ("classes", "fill-mask", {"stream": True}, "only the task text-generation streams"),
        ("classes", "zero-shot-classification", {}, "needs candidate_labels, a list of texts"),
        ("gpt", "chat", {}, "the tokenizer has no chat template"),
    ],
)
def test_errors_say_what_is_wrong(predictor, root, model, task, args, message):
    with pytest.raises(LoadError, match=message) as raised:
        predictor(model, task, **args)
    assert str(root) not in str(raised.value)


def test_a_folder_that_is_not_there(predictor):
    with pytest.raises(ArtefactError, match="there is no "):
        predictor("nothing", "tokenize")


def test_wrong_options_are_found_while_warming_up(predictor):
    bound = predictor("classes", "text-classification", options={"top_k": "many"})
    with pytest.raises(Exception, match=r"many|str"):
        asyncio.run(bound.load())


@pytest.mark.parametrize(
    ("args", "shapes"),
    [
        ({"task": "text-classification"}, {"labels": (-1,), "scores": (-1,)}),
        ({"task": "fill-mask", "options": {"top_k": 3}}, {"tokens": (-1, -1), "scores": (-1, -1)}),
        ({"task": "feature-extraction"}, {"output": (-1, -1)}),
        ({"task": "tokenize"}, {"input_ids": (-1, -1), "attention_mask": (-1, -1)}),
        ({"task": "text-generation"}, {"output": (-1,)}),
    ],
)
def test_the_types_are_known_before_the_model_is_loaded(args, shapes):
    kind = registry.get("predictor", "huggingface")
    found = kind.infer({"x": None}, args)
    assert {name: spec.shape for name, spec in found.items()} == shapes
    four = kind.infer({"x": typed(np.dtype(object), (4,))}, args)
    assert {spec.shape[0] for spec in four.values()} == {4}
    with pytest.raises(TypeConflict, match=r"takes texts, BYTES\[-1\], not FP32\[2\]"):
        kind.infer({"x": typed(np.dtype(np.float32), (2,))}, args)


def test_a_graph_streams_what_the_node_does(root, pipeline):
    args = {"task": "text-generation", "options": OPTIONS, "stream": True, "device": "cpu"}
    node = {"type": "predictor", "runtime": "huggingface", "model": "gpt", "args": args}
    data = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"text": {"datatype": "BYTES", "shape": [1]}},
            "nodes": {"writes": {**node, "inputs": {"text": "text"}}},
            "outputs": {"more": "writes"},
        },
    }
    plan = load_data(data, root).plan
    assert str(plan.output_types["more"]) == "BYTES[1]"

    async def run():
        bound = await load_nodes(plan, plan.nodes, root)
        executor = HeadExecutor(plan, bound)
        inputs = {"text": array(TEXTS[0])}
        try:
            return [one["more"][0] async for one in executor.stream(inputs, Context(), None)]
        finally:
            executor.close()
            await unload_nodes(bound, root)

    assert text_of([[piece] for piece in asyncio.run(run())]) == generated(pipeline)[0].strip()


def test_many_models_of_a_node_cannot_stream(node):
    args = {"task": "text-generation", "stream": True}
    fields = {"type": "predictor", "runtime": "huggingface", "model": "m/{model}", "args": args}
    found = registry.problems(node(**fields, multiplex={}))
    assert ("args", "stream") in [path for path, _ in found]


def test_only_one_input(node):
    fields = {"type": "predictor", "runtime": "huggingface", "args": {"task": "tokenize"}}
    found = registry.problems(node(**fields, inputs={"a": "x", "b": "x"}))
    assert [path for path, _ in found] == [("model",), ("inputs",)]
    assert not registry.get("predictor", "huggingface").executes_code("s3://b/folder")
