"""docs/theory.md runs from top to bottom, and its outputs and figures are those of its code."""

from __future__ import annotations

import contextlib
import json
import math
import re
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from torch import Tensor, nn

from scripts import theory
from scripts.theory import BLOCK, PAGE, Executed, agree, run, split_numbers, update
from tgvae.applications.theory_plots import code_map, ellipses, em_steps, topic_names, validations
from tgvae.data.vectors import Space, VectorSplit
from tgvae.errors import UserError
from tgvae.models.gmm import Mixture, em
from tgvae.models.topic import TopicConfig, TopicModel
from tgvae.models.vae import VectorConfig, VectorVAE

TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ((?:\d+\.|A graph).*)\n((?:(?!## ).*\n)*)", TEXT, re.MULTILINE))
SMALLER = {
    r"epochs=\d+": "epochs=1",
    "since=2000": "since=2017",
    '"hidden_size": 64': '"hidden_size": 16',
    "per_topic=25": "per_topic=2",
    "samples=100": "samples=5",
    r"graph_vae\(\)": "in_phases(graph_vae(), brief)",
}
BRIEF = "def brief(phase):\n    return replace(phase, epochs=2)\n\n"


def smaller(code: str) -> str:
    """Return the code with fewer epochs and years and smaller models."""
    for wanted, given in SMALLER.items():
        code = re.sub(wanted, given, code)
    return BRIEF * ("brief" in code) + code


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[Executed]:
    """The executed page, with small models."""
    with contextlib.chdir(tmp_path_factory.mktemp("page")):
        return list(run(TEXT, smaller))


def test_blocks_print_the_lines_of_the_page(ran: list[Executed]) -> None:
    assert len(ran) == len(SECTIONS) + 1 == 12
    for done in ran:
        words, numbers = split_numbers(done.printed)
        assert words == split_numbers(done.block["output"] or "")[0]
        assert all(math.isfinite(float(number)) for number in numbers)


def test_unchanged_blocks_print_the_numbers_of_the_page(ran: list[Executed]) -> None:
    mixture, linear = ran[1], ran[2]
    assert agree(mixture.block["output"], mixture.printed)
    assert agree(linear.block["output"].splitlines()[1], linear.printed.splitlines()[1])  # of exact PCA


def test_every_section_has_one_figure_file(ran: list[Executed]) -> None:
    named = [done.block["figure"] for done in ran if done.block["figure"]]
    files = {f"pictures/{path.name}" for path in (PAGE.parent / "pictures").iterdir()}
    assert len(named) == len(set(named)) == len(SECTIONS)
    assert re.findall(r"!\[[^\]]{20,}\]\((\S+)\)", TEXT) == named
    assert set(named) <= files
    for name in named:
        png = (PAGE.parent / name).read_bytes()
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(png) < 60_000, name


def test_no_figure_is_empty(ran: list[Executed]) -> None:
    for done in ran[1:]:
        assert isinstance(done.figure, go.Figure)
        sizes = [len(trace.y if trace.z is None else trace.z) for trace in done.figure.data if trace.type == "heatmap"]
        sizes += [len(trace.x) for trace in done.figure.data if trace.type == "scatter"]
        assert len(sizes) == len(done.figure.data) > 0
        assert min(sizes) > 0


def test_internal_links_lead_to_every_section() -> None:
    """GitHub's anchors: lower case, hyphens for blanks, and no other punctuation."""
    anchors = [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in SECTIONS]
    assert re.findall(r"\]\(#([^)]+)\)", TEXT) == anchors


def test_numbers_in_prose_are_printed_in_the_same_section() -> None:
    for title, body in SECTIONS.items():
        prose = re.sub(r"```.*?```|\(http\S+\)|`[^`]*`", "", body, flags=re.DOTALL)
        decimals = re.findall(r"\d+\.\d+", prose)
        assert all(number in BLOCK.search(body)["output"] for number in decimals), title


def test_table_names_existing_code() -> None:
    parts = re.findall(r"`((?:tgvae/)\S+\.py)(?::(\w+))?`", TEXT[TEXT.index("The code of each step") :])
    assert len(parts) > len(SECTIONS)
    for path, name in parts:
        code = (PAGE.parent.parent / path).read_text(encoding="utf-8")
        assert re.search(rf"^(class|def) {name}\b", code, re.MULTILINE), f"{path}:{name}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("KL 10.0 nats\n", "KL 10.4 nats\n", True),
        ("KL 10.0 nats\n", "KL 10.6 nats\n", False),
        ("KL 0.1 nats\n", "KL 0.2 nats\n", True),
        ("KL 0.12 nats\n", "KL 0.14 nats\n", False),
        ("KL -1.7 nats\n", "KL 1.7 nats\n", False),
        ("KL 10.0 nats\n", "KL 10.0 bits\n", False),
        ("KL 10.0 nats\n", "KL 10.0 nats\nmore\n", False),
        ("KL 10.0 nats\n", "KL 10.0 nats of 3\n", False),
        ("  we have to do it.\n", "  i ask you 2 times.\n", True),
        ("5 of 8\n", "6 of 8\n", True),
        ("5 of 8\n", "7 of 8\n", False),
        ("", "", True),
    ],
)
def test_outputs_agree_up_to_small_differences(expected: str, printed: str, same: bool) -> None:
    assert agree(expected, printed) is same


def test_outputs_are_written_into_the_page_where_they_belong() -> None:
    page = "```python\nprint(1)\n```\n\n```text\nold\n```\n\n"
    page += "```python\nprint('two\\nlines')\n```\n\n```text\n```\n\nEnd.\n"
    again = update(page, list(run(page)))
    assert again == page.replace("old\n", "1\n").replace("```text\n```", "```text\ntwo\nlines\n```")
    assert update(again, list(run(again))) == again


def test_check_prints_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(theory, "PAGE", page)
    for shown, code in (("KL 3.1 nats", 0), ("KL 5.1 nats", 1)):
        page.write_text(f"```python\nprint('KL 3.0 nats')\n```\n\n```text\n{shown}\n```\n", encoding="utf-8")
        assert theory.main(check=True) == code
        assert (shown in capsys.readouterr().out) is bool(code)


def mixture_of_two() -> tuple[Tensor, Mixture]:
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double() + torch.tensor([[3.0, 0.0]]).double()
    x[::2] *= -1
    return x, Mixture(torch.tensor([0.3, 0.7]).double(), x[:2], x.T.cov().expand(2, 2, 2))


def test_ellipses_are_two_standard_deviations_from_their_means() -> None:
    _, mixture = mixture_of_two()
    away = torch.from_numpy(ellipses(mixture)) - mixture.loc.unsqueeze(1)
    distance = torch.einsum("kni,kij,knj->kn", away, mixture.covariance.inverse(), away).sqrt()
    torch.testing.assert_close(distance, torch.full_like(distance, 2.0))


def test_the_bound_equals_log_p_after_every_e_step() -> None:
    x, start = mixture_of_two()
    end, bounds = em(x, start, steps=4, tolerance=0, floor=0)
    lines = {trace.name: trace for trace in em_steps(x, start, end, bounds).data}
    elbo, evidence = lines["ELBO"], lines["log p(x)"]
    assert list(elbo.x) == list(evidence.x) == list(range(1, 9))
    assert list(elbo.y) == bounds[1:]
    assert list(elbo.y[1::2]) == list(evidence.y[1::2])
    assert all(below < above for below, above in zip(elbo.y[::2], evidence.y[::2], strict=True))
    assert all(value == end.elbo(x).mean().item() for value in evidence.y[-2:])


def plane_model() -> VectorVAE:
    """E[x | z] = sigmoid(z_1 + 2 z_2) in every pixel."""
    torch.manual_seed(0)
    model = VectorVAE(VectorConfig(hidden_sizes=(), latent_size=2), Space(4, (2, 2)))
    nn.init.zeros_(model.output.bias)
    with torch.no_grad():
        model.output.weight.copy_(torch.tensor([[1.0, 2.0]]).expand(4, 2))
    return model


def test_codes_are_plotted_as_their_labels() -> None:
    model, x = plane_model(), np.eye(4, dtype=np.float32)[:3]
    split = VectorSplit("made", "test", x, np.array(["a", "<b>", "a"]))
    figure = code_map(model, split)
    assert [trace.text for trace in figure.data] == [("&lt;b&gt;",), ("a", "a")]
    means = model.posterior(torch.from_numpy(x)).mean.detach().numpy()
    np.testing.assert_allclose(np.stack((figure.data[1].x, figure.data[1].y), 1), means[[0, 2]], rtol=1e-6)
    with pytest.raises(UserError, match="size 2"):
        code_map(model, VectorSplit("made", "test", x, None))
    with pytest.raises(UserError, match="size 2"):
        code_map(VectorVAE(VectorConfig(), model.space), split)


def test_validations_are_read_by_epoch(tmp_path: Path) -> None:
    rows = [{"kind": "train", "kl/z": 9.0}]
    rows += [{"kind": "valid", "kl/z": kl, "nll/x": nll} for kl, nll in ((1.0, 2.0), (3.0, 5.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert validations(tmp_path, "kl/z") == {1: 1.0, 2: 3.0}
    assert validations(tmp_path, "nll/x", "kl/z") == {1: 3.0, 2: 8.0}
    for run_folder, term in ((tmp_path, "kl/g"), (tmp_path / "none", "kl/z")):
        with pytest.raises(UserError, match=f"no validation with {term}"):
            validations(run_folder, term)


def test_topics_are_named_by_their_most_probable_words(prepared) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = TopicModel.from_data(TopicConfig(topics=2, word_embedding_size=2, hidden_size=4), prepared)
    with torch.no_grad():
        model.topic.background.copy_(torch.linspace(0, 50, len(model.vocabulary)))
        model.topic.topics.zero_()
    last = model.vocabulary.words[:-3:-1]
    assert topic_names(model, words=2) == [f"{i} {last[0]}, {last[1]}" for i in range(2)]
