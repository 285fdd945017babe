"""The web API: every endpoint and every error; responses equal the results of the model in Python."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")
from fastapi.testclient import TestClient

from tests.conftest import refused
from tgvae.cli import serve
from tgvae.data.corpus import Corpus
from tgvae.data.schema import PreparedFolder
from tgvae.data.tokenizers import clean_text, word_tokenize
from tgvae.errors import UserError
from tgvae.evaluation.topics import theta, topic_quality
from tgvae.generation.decode import READABLE
from tgvae.models.base import Capability, Model
from tgvae.models.sentence import LanguageModel, SentenceConfig, SentenceVAE
from tgvae.models.text_generation import Sentence
from tgvae.models.tgvae import TGVAE
from tgvae.models.topic import TopicConfig, TopicModel
from tgvae.runs import load_run
from tgvae.web import service
from tgvae.web.app import create_app
from tgvae.web.page_data import collect_page_data, example_texts
from tgvae.web.schemas import Decoding, PageData, Sentences
from tgvae.web.security import HEADERS
from tgvae.web.service import BusyError, Limits, ModelSlots

TEXT = 'The army said "soldier, wait" in the kitchen.  Isn\'t cheese <b>near</b> the moon?\n\nA rocket-launch: gravity.'
SMALL = SentenceConfig(embedding_size=8, hidden_size=8, latent_size=2, flow_length=0)


def client(model: Model, data: PageData | None = None, **options: Any) -> TestClient:
    app = create_app(model, data or collect_page_data(model, "run", None, "It is gone."), **options)
    return TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def web(guided: TGVAE, page_data: PageData) -> TestClient:
    return client(guided, page_data)


def reason(web: TestClient, status: int, path: str, question: Any = None, **more: Any) -> str:
    """Return the error message of a request that fails with this status."""
    answer = web.get(path, **more) if question is None else web.post(path, json=question, **more)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    return str(answer.json()["error"])


def sentences(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["sentences"]


def test_run_info(web: TestClient, corpus: Corpus) -> None:
    run = web.get("/api/run").json()
    assert run["capabilities"] == ["generation", "guidance", "latent", "topics"]
    assert (run["run"], run["model"], run["corpus_missing"]) == ("guided", "tgvae", "")
    assert run["corpus"] == {
        "name": "documents.jsonl",
        "licence": "not stated",
        "documents": corpus.documents,
        "sentences": len(corpus.lengths),
    }
    document = " ".join(corpus.table["sentences"][corpus.documents // 2].as_py())
    assert run["examples"]["document"] == document
    assert {run["examples"]["start"], run["examples"]["end"]} <= set(corpus.texts)


@pytest.mark.parametrize(
    ("document", "shown"),
    [("army  moon", "army  moon"), ("army " * 399 + "army", "army " * 399 + "army"), ("x" * 20_000, "x" * 2_000)],
)
def test_long_example_documents_are_cut_after_a_word(document: str, shown: str) -> None:
    corpus: Any = SimpleNamespace(
        lengths=[1], documents=1, table={"sentences": [SimpleNamespace(as_py=lambda: [document, "Moon."])]}, text=str
    )
    found = example_texts(corpus)
    assert found
    assert found.document == (shown if len(document) > 100 else f"{shown} Moon.")


def test_topics_equal_those_of_the_evaluation(web: TestClient, guided: TGVAE, corpus: Corpus) -> None:
    found, quality = web.get("/api/topics").json(), topic_quality(guided, corpus)
    topics = found["topics"]
    assert found["npmi"] == pytest.approx(quality.npmi.mean())
    assert (found["diversity"], found["in_use"]) == (quality.diversity, quality.in_use)
    assert sorted(t["topic"] for t in topics) == [0, 1, 2]
    assert [t["share"] for t in topics] == sorted((t["share"] for t in topics), reverse=True)
    beta = guided.topic.log_beta.detach().exp()
    known = set(corpus.texts)
    for topic in topics:
        number, words = topic["topic"], topic["words"]
        assert (topic["share"], topic["npmi"]) == (pytest.approx(quality.share[number]), quality.npmi[number])
        ids = [guided.vocabulary.words.index(w["word"]) for w in words]
        assert [w["probability"] for w in words] == pytest.approx(beta[number].topk(10).values.tolist())
        assert [w["probability"] for w in words] == pytest.approx(beta[number, ids].tolist())
        assert len(topic["sentences"]) == 3
        assert known.issuperset(topic["sentences"])


def test_prevalence_by_year_and_label(web: TestClient, guided: TGVAE, dated: Corpus) -> None:
    """Equal to means over the documents of each group; their weighted mean is the share."""
    found, proportions = web.get("/api/topics").json(), theta(guided, dated)
    years = [str(json.loads(row)["year"]) for row in dated.table["metadata"].to_pylist()]
    for kind, of in {"year": years, "label": dated.table["label"].to_pylist()}.items():
        names, documents = found["groups"][kind]["names"], found["groups"][kind]["documents"]
        assert names == sorted(set(of))
        assert documents == [of.count(name) for name in names]
        for topic in found["topics"]:
            own = proportions[:, topic["topic"]]
            means = [np.mean([x for x, name in zip(own, of, strict=True) if name == wanted]) for wanted in names]
            assert topic["prevalence"][kind] == pytest.approx(means, abs=1e-5)
            assert np.average(means, weights=documents) == pytest.approx(topic["share"], rel=1e-5)


def test_plots_have_captions_and_all_documents(web: TestClient, corpus: Corpus) -> None:
    pictures = {p["heading"]: p for p in web.get("/api/plots").json()["plots"]}
    assert {"Topic map", "Document map", "Topics over time", "Topics by label", "Topic similarity"} == set(pictures)
    assert all(p["caption"] and p["figure"]["data"] for p in pictures.values())
    groups = pictures["Document map"]["figure"]["data"]
    hover = [text for group in groups for text in group.get("hovertext", [])]
    assert len(hover) == corpus.documents
    assert any(str(corpus.table["sentences"][0][0])[:20] in text for text in hover)


def test_generated_sentences_equal_those_of_the_model(web: TestClient, guided: TGVAE) -> None:
    """With the same seed and the decoding defaults of `tgvae generate`."""
    assert Decoding().settings == READABLE
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"topic": 2, "num": 3, "seed": 7}, {"topic": 2, "num": 3, "seed": 7}),
        ({"topic": "army soldier"}, {"topic": "army soldier"}),
        ({"mixture": {"0": 1, "2": 0.5}, "strength": 2}, {"mixture": {0: 1, 2: 0.5}, "strength": 2}),
        ({"like": TEXT}, {"like": TEXT}),
    ]
    for question, call in cases:
        expected = [asdict(s) for s in guided.generate(**call, settings=READABLE)]
        for _ in range(2):
            assert sentences(web.post("/api/generate", json=question)) == expected
    decode = {"strategy": "beam", "beams": 2, "max_length": 9}
    searched = guided.generate(0, num=2, settings=Decoding(**decode).settings)  # type: ignore[arg-type]
    found = sentences(web.post("/api/generate", json={"topic": 0, "num": 2, "decode": decode}))
    assert found == [asdict(s) for s in searched]


def test_interpolation_equals_that_of_the_model(web: TestClient, guided: TGVAE) -> None:
    question = {"start": "The army was near.", "end": "They saw a moon.", "num": 4, "seed": 3}
    expected = guided.interpolate("The army was near.", "They saw a moon.", 4, READABLE, 3)
    for path in ("/api/interpolate", "/api/between"):  # the second is its old name
        assert sentences(web.post(path, json=question)) == [asdict(s) for s in expected]


def test_topics_of_words_follow_bayes_rule(web: TestClient, guided: TGVAE) -> None:
    """The spans join to the text, and mark the words of the vocabulary."""
    answer = web.post("/api/document", json={"text": TEXT}).json()
    t = guided.topics_of(TEXT)
    assert [s["topic"] for s in answer["topics"]] == t.argsort(descending=True).tolist()
    assert [s["share"] for s in answer["topics"]] == pytest.approx(sorted(t.tolist(), reverse=True))
    shown = ["".join(p["text"] for p in paragraph).strip() for paragraph in answer["paragraphs"]]
    assert shown == clean_text(TEXT).split("\n\n")
    marked = [p for paragraph in answer["paragraphs"] for p in paragraph if p["topic"] is not None]
    words = [p["text"].lower() for p in marked]
    assert words == [guided.vocabulary.words[i] for i in guided.vocabulary.encode_text(TEXT)]
    assert {"army", "soldier", "cheese", "gravity"} <= set(words)
    assert "launch" not in words
    beta = guided.topic.log_beta.detach().exp()
    for piece, word in zip(marked, words, strict=True):
        joint = t * beta[:, guided.vocabulary.words.index(word)]
        assert piece["topic"] == int(joint.argmax())
        assert piece["probability"] == pytest.approx(float(joint.max() / joint.sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("status", "question", "message"),
    [
        (422, {"num": 0}, "num: Input should be greater than or equal to 1"),
        (422, {"num": 21}, "num: .* less than or equal to 20"),
        (422, {"num": 2.5}, "num: .*integer"),
        (422, {"seed": -1}, "seed"),
        (422, {"seed": 2**63}, "seed"),
        (422, {"strength": 6}, "strength"),
        (422, {"like": ""}, "like: String should have at least 1 character"),
        (422, {"like": "a" * 20_001}, "like: String should have at most 20000 characters"),
        (422, {"topic": "a" * 1_001}, "topic"),
        (422, {"topic": -1}, "^topic: Input should be greater than or equal to 0; topic: "),
        (422, {"topic": True}, "^topic: Input should be a valid integer; topic: "),
        (422, {"mixture": {"0": -1}}, "mixture.0"),
        (422, {"mixture": {"war": 1}}, "mixture.war"),
        (422, {"mixture": [1, 2]}, "mixture"),
        (422, {"mixture": {str(i): 1 for i in range(1001)}}, "mixture: .*1000 items"),
        (422, {"decode": {"temperature": 0}}, "decode.temperature: .* greater than 0"),
        (422, {"decode": {"max_length": 101}}, "decode.max_length"),
        (422, {"decode": {"strategy": "dream"}}, "decode.strategy"),
        (422, {"decode": {"top_k": 3}}, "decode.top_k: Extra inputs are not permitted"),
        (422, {"path": "/etc/passwd"}, "path: Extra inputs are not permitted"),
        (422, {"num": 20, "decode": {"strategy": "beam", "max_length": 100}}, "10,000; at most 6,000"),
        (422, [], "the request"),
        (400, {"topic": 3}, "no topic 3"),
        (400, {"topic": "xyzzy"}, "none of the words"),
        (400, {"mixture": {"7": 1}}, "no topic 7"),
        (400, {"mixture": {"0": 0}}, "the weight 0"),
        (400, {"mixture": {}}, "the weight 0"),
        (400, {"like": "12 34"}, "none of the words"),
        (400, {"topic": 0, "like": "army"}, "not several"),
    ],
)
def test_invalid_requests_are_explained(web: TestClient, status: int, question: Any, message: str) -> None:
    assert re.search(message, reason(web, status, "/api/generate", question))


def test_invalid_requests_of_other_endpoints_are_explained(web: TestClient) -> None:
    assert "end: Field required" in reason(web, 422, "/api/interpolate", {"start": "army"})
    assert "num" in reason(web, 422, "/api/interpolate", {"start": "army", "end": "moon", "num": 1})
    assert "has no words" in reason(web, 400, "/api/interpolate", {"start": " ", "end": "moon"})
    assert "topic vocabulary" in reason(web, 400, "/api/document", {"text": "12 34"})
    assert "at least 1" in reason(web, 422, "/api/document", {"text": ""})
    assert "does not support summaries" in reason(web, 400, "/api/summarize", {"text": "army"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b'{"num": NaN}', 422),
        (b'{"strength": 1e999}', 422),
        (b'{"like": "\\ud800"}', 422),
        (b'{"num": ' + b"9" * 5000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 422),
    ],
)
def test_malformed_requests_are_rejected(web: TestClient, body: bytes, status: int) -> None:
    answer = web.post("/api/generate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


def test_form_data_is_rejected(web: TestClient) -> None:
    answer = web.post("/api/generate", content=b'{"num": 1}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422


def test_large_and_chunked_requests_are_rejected(guided: TGVAE) -> None:
    small = client(guided, limits=Limits(body=200))
    assert "limit is 200" in reason(small, 413, "/api/document", {"text": "army " * 50})
    assert small.post("/api/document", json={"text": "army"}).status_code == 200
    chunks = small.post("/api/document", content=iter([b'{"text": "army"}']))
    assert (chunks.status_code, "Content-Length" in chunks.json()["error"]) == (411, True)


def test_unknown_paths_and_methods(web: TestClient) -> None:
    assert "Not Found" in reason(web, 404, "/api/nothing")
    assert "Method Not Allowed" in reason(web, 405, "/api/generate")
    for name in ("app.py", "..%2fapp.py", "%2e%2e/app.py", "%2fetc%2fpasswd", "docs"):
        reason(web, 404, f"/static/{name}")
    reason(web, 404, "/docs")


def test_other_hosts_and_origins_are_rejected(web: TestClient) -> None:
    assert web.get("/api/run", headers={"Host": "evil.example"}).status_code == 400
    assert web.get("/api/run", headers={"Host": "["}).status_code == 400
    assert "cross-origin" in reason(web, 403, "/api/generate", {}, headers={"Origin": "http://evil.example"})
    assert "cross-origin" in reason(web, 403, "/api/generate", {}, headers={"Origin": "null"})
    assert "cross-origin" in reason(web, 403, "/api/generate", {}, headers={"Origin": "http://localhost:9000"})
    own = {"Origin": "http://localhost:8000"}
    assert sentences(web.post("/api/generate", json={"num": 1}, headers=own))
    for host in ("127.0.0.1:8000", "LOCALHOST", "[::1]:8000"):
        assert web.get("/api/run", headers={"Host": host}).status_code == 200
    answer = web.get("/api/run", headers=own)
    assert "access-control-allow-origin" not in answer.headers


def test_every_response_has_security_headers(web: TestClient) -> None:
    for path in ("/", "/api/run", "/static/page.js", "/nothing"):
        sent = web.get(path).headers
        assert {name: sent[name] for name in HEADERS} == HEADERS
    assert "unsafe-eval" not in HEADERS["Content-Security-Policy"]


def test_token_as_bearer_query_or_cookie(guided: TGVAE) -> None:
    web = client(guided, token="sesame-1", hosts=None)
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic sesame-1"},
        {"Cookie": "tgvae_74ce7322=x"},
    ):
        for path in ("/", "/api/run", "/static/page.js", "/openapi.json"):
            assert "token" in reason(web, 401, path, headers=headers)
    assert "token" in reason(web, 401, "/?token=wrong")
    for path in ("/", "/?token=wrong<b>"):
        requests = web.get(path, headers={"Accept": "text/html,*/*"})
        assert (requests.status_code, "<form" in requests.text, "wrong<b>" in requests.text) == (401, True, False)
    assert web.get("/api/run", headers={"Authorization": "Bearer sesame-1"}).status_code == 200
    entered = web.get("/?token=sesame-1", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=lax"} <= set(entered.headers["set-cookie"].split("; "))
    assert web.get("/").status_code == 200
    assert sentences(web.post("/api/generate", json={"num": 1}))


def test_servers_on_one_host_use_different_cookies(guided: TGVAE) -> None:
    """Browsers share cookies between ports."""
    first, second = (client(guided, token=token, hosts=None) for token in ("sesame-1", "sesame-2"))
    assert first.get("/?token=sesame-1").status_code == 200
    second.cookies = first.cookies
    assert second.get("/?token=sesame-2").status_code == 200
    first.cookies = second.cookies
    assert [web.get("/").status_code for web in (first, second)] == [200, 200]


def test_browsers_cache_static_files(web: TestClient) -> None:
    for path in ("/", "/plotly/plotly.min.js", "/static/style.css"):
        first = web.get(path)
        assert first.headers["content-encoding"] == "gzip"
        assert web.get(path, headers={"Accept-Encoding": "identity"}).content == first.content
        again = web.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_page_loads_nothing_from_other_servers(web: TestClient) -> None:
    page = web.get("/").text
    used = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert used
    assert all(web.get(f"/{name}").status_code == 200 for name in used if name != "data:,")
    own = page + "".join(web.get(f"/static/{name}").text for name in ("style.css", "page.js", "api.js", "maps.js"))
    assert not re.findall(r"https?://|//[a-z]+\.", own)


def test_openapi_describes_every_endpoint(web: TestClient) -> None:
    message = web.get("/openapi.json").json()
    paths = {f"{method} {path}" for path, methods in message["paths"].items() for method in methods}
    names = ("generate", "interpolate", "document", "summarize")
    assert paths == {f"get /api/{n}" for n in ("run", "topics", "plots")} | {f"post /api/{n}" for n in names}
    schema = message["components"]["schemas"]["GenerateRequest"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["num"]["maximum"] == 20
    assert {"topics", "groups", "npmi"} <= set(message["components"]["schemas"]["TopicList"]["properties"])
    assert {"words", "sentences", "prevalence"} <= set(message["components"]["schemas"]["TopicInfo"]["properties"])
    for name, answer in (
        ("run", "RunInfo"),
        ("topics", "TopicList"),
        ("plots", "PlotList"),
        ("document", "DocumentTopics"),
    ):
        [about] = message["paths"][f"/api/{name}"].values()
        assert about["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith(f"/{answer}")
    assert {"400", "411", "413", "422", "429", "500"} <= set(message["paths"]["/api/generate"]["post"]["responses"])


def test_curl_commands_of_the_documentation(guided: TGVAE, page_data: PageData) -> None:
    """Every curl command of docs/how-to/serve.md succeeds, and its table lists every endpoint."""
    page = Path(__file__).parent.parent / "docs" / "how-to" / "serve.md"
    lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    web = client(guided, page_data, token="a-long-secret")
    asked = [shlex.split(line) for line in lines if line.startswith("curl ")]
    for _, url, *options in asked:
        given = dict(zip(options[::2], options[1::2], strict=True))
        assert set(given) <= {"-H", "-d"}
        headers = {"Authorization": "Bearer a-long-secret"} | dict([given["-H"].split(": ")] if "-H" in given else [])
        path = re.sub(r"http://127.0.0.1:80[08]0", "", url)
        answer = web.request("POST" if "-d" in given else "GET", path, content=given.get("-d"), headers=headers)
        assert answer.status_code == 200, (url, answer.text)
    known = {path for path, *_ in (re.findall(r"/api/\w+", line) for line in lines if line.startswith("| `"))}
    assert known == set(web.app.openapi()["paths"])  # type: ignore[attr-defined]
    assert {re.sub(r".*:80[08]0", "", url) for _, url, *_ in asked} == known - {"/api/plots", "/api/summarize"}


def test_origin_behind_a_proxy(guided: TGVAE) -> None:
    web = client(guided, token="sesame-1", hosts=None)
    headers = {"Authorization": "Bearer sesame-1", "Host": "topics.example.org"}
    for origin, status in (("https://topics.example.org", 200), ("https://evil.example.org", 403)):
        answer = web.post("/api/generate", json={"num": 1}, headers=headers | {"Origin": origin})
        assert answer.status_code == status


def test_several_requests_may_use_the_model(guided: TGVAE) -> None:
    slots = ModelSlots(Limits(at_once=2, waiting=1, seconds=0.01))
    with slots.acquire(), slots.acquire(), pytest.raises(BusyError), slots.acquire():
        pass
    with slots.acquire():
        pass


def test_concurrent_requests_get_the_same_responses(guided: TGVAE, page_data: PageData) -> None:
    web = client(guided, page_data, limits=Limits(at_once=4))
    asked: list[tuple[str, dict[str, Any]]] = [
        ("generate", {"mixture": {"0": 1}, "num": 3, "seed": 1}),
        ("generate", {"topic": 2, "num": 3, "seed": 2}),
        ("interpolate", {"start": "The army was near.", "end": "They saw a moon.", "num": 3}),
        ("document", {"text": TEXT}),
    ]

    def answered(question: tuple[str, dict[str, Any]]) -> Any:
        return web.post(f"/api/{question[0]}", json=question[1]).json()

    alone = [answered(question) for question in asked]
    with ThreadPoolExecutor(4) as visitors:
        together = list(visitors.map(answered, asked * 3))
    assert together == alone * 3


def test_excess_requests_are_rejected(guided: TGVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting request is rejected after its time limit, and others at once if no place is left."""
    inside, go = threading.Event(), threading.Event()

    def slow(*_: Any) -> Sentences:
        inside.set()
        assert go.wait(20)
        return Sentences([])

    monkeypatch.setattr(service, "generate", slow)
    web = client(guided, limits=Limits(waiting=1, seconds=1))
    found: list[int] = []
    first, second = (
        threading.Thread(target=lambda: found.append(web.post("/api/generate", json={}).status_code)) for _ in range(2)
    )
    first.start()
    assert inside.wait(20)
    second.start()
    second.join()
    assert found == [429]
    slots = ModelSlots(Limits(waiting=0, seconds=1))
    with slots.acquire(), pytest.raises(BusyError), slots.acquire():
        pass
    go.set()
    first.join()
    assert found == [429, 200]
    assert web.post("/api/generate", json={}).status_code == 200


def test_busy_has_a_retry_after_header(guided: TGVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise BusyError

    monkeypatch.setattr(service, "infer_topics", busy)
    answer = client(guided).post("/api/document", json={"text": "army"})
    assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (429, True)
    assert "try again" in answer.json()["error"]


def test_internal_errors_reveal_no_details(guided: TGVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a secret of the code")

    monkeypatch.setattr(service, "generate", broken)
    web = client(guided)
    assert "secret" not in reason(web, 500, "/api/generate", {})
    assert web.post("/api/document", json={"text": "army"}).status_code == 200


@pytest.mark.parametrize("limits", [{"waiting": -1}, {"seconds": -1.0}, {"seconds": float("nan")}, {"body": 0}])
def test_limits_that_would_reject_everything(limits: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(limits))):
        Limits(**limits)


def test_without_the_corpus_topics_still_have_words(guided: TGVAE) -> None:
    web = client(guided)
    assert web.get("/api/run").json()["corpus_missing"] == "It is gone."
    found = web.get("/api/topics").json()
    assert (found["npmi"], found["in_use"]) == (None, None)
    assert all(
        t["share"] is None and t["npmi"] is None and t["sentences"] == [] and len(t["words"]) == 10
        for t in found["topics"]
    )
    headings = [p["heading"] for p in web.get("/api/plots").json()["plots"]]
    assert "Topic map" in headings
    assert "Document map" not in headings


@pytest.mark.parametrize(
    ("make", "can"),
    [
        (lambda data: TopicModel.from_data(TopicConfig(topics=3), data), {"topics"}),
        (lambda data: TopicModel.from_data(TopicConfig(topics=3, likelihood="product"), data), {"topics"}),
        (lambda data: SentenceVAE.from_data(SMALL, data), {"generation", "latent"}),
        (lambda data: LanguageModel.from_data(SMALL, data), {"generation"}),
    ],
)
def test_endpoints_follow_the_capabilities(make: Any, can: set[str], prepared: PreparedFolder) -> None:
    web = client(make(prepared).eval())
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "generation": ("generate", {"num": 1}),
        "latent": ("interpolate", {"start": "army", "end": "moon"}),
        "topics": ("document", {"text": "army moon"}),
        "summaries": ("summarize", {"text": "army"}),
        "guidance": ("generate", {"topic": 0}),
    }
    assert set(web.get("/api/run").json()["capabilities"]) == can
    for capability, (name, body) in requests.items():
        if capability in can:
            assert web.post(f"/api/{name}", json=body).status_code == 200
        else:
            assert "does not support" in reason(web, 400, f"/api/{name}", body)
    assert bool(web.get("/api/topics").json()["topics"]) == ("topics" in can)


def test_an_unknown_kind_of_model_is_served_by_its_capabilities(prepared: PreparedFolder) -> None:
    class Echo(LanguageModel):
        """Not registered anywhere; generates the same sentence again and again."""

        def generate(self, num: int = 5, settings: Any = None, seed: int = 0) -> Any:
            return [Sentence(f"echo {seed}", -1.0, True)] * num

    web = client(Echo.from_data(SMALL, prepared).eval())
    assert web.get("/api/run").json()["capabilities"] == ["generation"]
    assert [s["text"] for s in sentences(web.post("/api/generate", json={"num": 2, "seed": 3}))] == ["echo 3"] * 2


def test_a_summarizer_summarizes(summarizer_run: Path, titled: PreparedFolder) -> None:
    model = load_run(summarizer_run, require=Capability.SUMMARIES)
    web = client(model, collect_page_data(model, "run", Corpus(titled, "train")))
    text = "Yesterday Bofikela saw the army. No soldier was near the moon."
    assert web.get("/api/run").json()["capabilities"] == ["summaries", "topics"]
    answer = web.post("/api/summarize", json={"text": text, "num": 2, "topic": 1, "seed": 5}).json()
    expected = asdict(model.summarize_documents([text], 2, 1, seed=5)[0])
    assert answer == json.loads(json.dumps(expected))
    assert web.post("/api/summarize", json={"text": " "}).json()["summaries"] == []
    assert "no topic 9" in reason(web, 400, "/api/summarize", {"text": text, "topic": 9})


def test_spans_join_to_the_text(guided: TGVAE) -> None:
    rng = np.random.default_rng(0)
    parts = [
        "army",
        "Moon",
        '"',
        "''",
        "``",
        "'",
        "can't",
        "rocket-launch",
        "...",
        "(",
        "$5",
        "é",
        "\u0301",
        "日本",
        " ",
    ]
    for _ in range(200):
        sentence = " ".join(rng.choice(parts, 8)).replace(" ' ", "'")
        cleaned = clean_text(sentence)
        found = list(service.split_at_words(cleaned, guided.vocabulary))
        assert "".join(text for text, _ in found) == cleaned + " "
        marked = [guided.vocabulary.words[i] for _, i in found if i is not None]
        assert [text.lower() for text, i in found if i is not None] == marked
        assert marked == [w.lower() for w in word_tokenize(cleaned) if w in ("army", "Moon")]


@pytest.mark.parametrize(
    "text", ["(" * 20_000, '"' * 20_000, "a." * 10_000, "<" * 20_000, "&a" * 10_000, "é\u0301" * 9_000]
)
def test_no_text_takes_long(web: TestClient, text: str) -> None:
    """The longest texts allowed, of kinds that make regular expressions slow."""
    from time import perf_counter

    began = perf_counter()
    reason(web, 400, "/api/document", {"text": text})
    assert perf_counter() - began < 10


def started(run: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """`tgvae serve` on a free port, and the address that it prints."""
    command = [sys.executable, "-m", "tgvae.cli.main", "serve", str(run), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    message = process.stdout.readline()
    found = re.search(r"http://\S+", message)
    assert found, process.communicate()
    return process, found[0]


@pytest.fixture
def served(guided_run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process, url = started(guided_run, "--token", "sesame-1")
    yield process, url
    process.kill()
    process.communicate()


def test_the_command_serves_until_it_is_stopped(served: tuple[subprocess.Popen[str], str], guided_run: Path) -> None:
    process, url = served
    host, token = url.split("/?token=")
    assert token == "sesame-1"
    asking = urllib.request.Request(f"{host}/api/run", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asking, timeout=20) as answer:
        assert json.load(answer)["run"] == guided_run.name
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=20)
    assert (process.returncode, message.splitlines()[-1]) == (0, "stopped")
    assert "Traceback" not in message


def test_serve_explains_errors(
    guided_run: Path, prepared: PreparedFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no trained model" in refused(capsys, "serve", tmp_path)
    assert "--token is empty" in refused(capsys, "serve", guided_run, "--token", "")
    for token in ("Schlüssel", "a\nb", " a"):
        assert "no HTTP header can hold" in refused(capsys, "serve", guided_run, "--token", token)
    assert "port is 99999" in refused(capsys, "serve", guided_run, "--port", "99999")
    assert "cannot listen on" in refused(capsys, "serve", guided_run, "--host", "no.such.host.invalid")
    assert "--data" not in refused(capsys, "serve", guided_run, "--data", tmp_path, "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "choose another --port" in refused(capsys, "serve", guided_run, "--port", other.getsockname()[1])


def test_visitors_do_not_see_paths_of_the_server(
    guided_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def gone(*_: Any) -> None:
        raise UserError("/home/of/somebody: not there; did you mean /home/of/somebody-else?")

    monkeypatch.setattr(serve, "open_folder", gone)
    corpus, missing = serve.find_corpus(serve.Serve(guided_run), load_run(guided_run))
    assert corpus is None
    assert "tgvae serve RUN --data FOLDER" in missing
    assert "/" not in missing
    assert "/home/of/somebody-else" in capsys.readouterr().err
