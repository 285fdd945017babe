"""`tgvae plot`: pictures of a run, a file each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from plotly.graph_objects import Figure

from tgvae.cli.evaluate import split_of
from tgvae.cli.options import parse
from tgvae.cli.output import command, end, print_json
from tgvae.errors import UserError
from tgvae.evaluation.html_report import about_list, drawn, page_of
from tgvae.evaluation.plots import NAMES, Name, plots, training_plots
from tgvae.evaluation.plots import Plot as Drawn
from tgvae.files import write_bytes, write_text
from tgvae.runs import load_run, open_data, read_run

Format = Literal["html", "png"]
WIDTH, SCALE = 1000, 2
MOST_ABOVE, LINE = 8, 20
"""Groups in a legend above a PNG; height of one of more, beside it, in screen pixels."""
SHADOW = {"textfont_shadow": "auto"}  # numbers can be read on marks of any colour


@dataclass(frozen=True)
class Plot:
    """Draw what a run has learnt: pages that need no network, and PNG.

    Pictures:
      topics      words of the most frequent topics with their probabilities
      map         topics in a plane, near those of like words
      similarity  of each topic to each other
      time        topics over the years, where documents have dates
      labels      topics by label, where documents have labels
      documents   documents in a plane, near those of like topics
      latent      held-out sentences, vectors or nodes in a plane of their latent
      training    terms of the objective over steps; also of a run that is training now

    Examples:
      tgvae plot runs/sotu
      tgvae plot runs/sotu --what map documents --format html png --out pictures
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    what: tuple[Name, ...] = NAMES
    """Which pictures."""
    out: Path | None = None
    """Folder for the files; RUN/plots unless given."""
    format: tuple[Format, ...] = ("html",)
    """png needs kaleido, `pip install 'tgvae[pictures]'`, and a Chrome or Chromium browser."""
    data: Path | None = None
    """Where the data is now, if it has moved."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Plot, "plot", arguments)
    if not options.what or not options.format:
        raise UserError("--what and --format want at least one name each; leave them out for all pictures as pages")
    if "png" in options.format:
        require_kaleido()
    found = plots_of_run(options.run, options.what, options.data)
    folder = options.out or options.run / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: save(plot, options.run, folder / name, options.format) for name, plot in found.items()}
    left_out = {name: plot.caption for name, plot in found.items() if plot.figure is None}
    if options.json:
        written = {name: [str(path) for path in paths] for name, paths in files.items() if paths}
        print_json({"files": written, "left_out": left_out})
        return
    for name, plot in found.items():
        what = f"left out: {plot.caption}" if name in left_out else ", ".join(map(str, files[name]))
        print(f"{name:12}{what}")
    end([folder], ["open them in a browser", command("evaluate", options.run)])


def plots_of_run(run: Path, names: Sequence[Name] = NAMES, data: Path | None = None) -> dict[Name, Drawn]:
    """Pictures of a run by name; ``training`` alone needs neither its data nor that it has ended.

    Raises:
        UserError: no run, or its data is gone or another.
    """
    read_run(run)
    if set(names) == {"training"}:
        return training_plots(run)
    model, opened = load_run(run), open_data(run, data)
    train, held_out = (split_of(run, model, opened, split) for split in ("train", "test"))
    return plots(model, train, held_out, names, run)


def save(plot: Drawn, run: Path, path: Path, formats: Sequence[Format]) -> list[Path]:
    """Write a picture in some formats; returns the files, none where there is nothing to show."""
    files = []
    for suffix in formats if plot.figure is not None else ():
        file = path.with_name(f"{path.name}.{suffix}")
        if suffix == "html":
            about = about_list({"run": str(run)})
            write_text(file, page_of(f"{plot.heading}, {run.name}", {"Picture": drawn([plot]), "About": about}))
        else:
            write_bytes(file, png(plot.figure))
        files.append(file)
    return files


def png(figure: Figure) -> bytes:
    """A picture on white, 2,000 pixels wide. Raises UserError where no browser can draw it."""
    import kaleido
    from kaleido.errors import BrowserFailedError, ChromeNotFoundError

    still = Figure(figure).update_layout(paper_bgcolor="white").update_traces(SHADOW, {"mode": "text"})
    groups = sum(trace.name is not None and trace.showlegend is not False for trace in still.data)
    if groups > MOST_ABOVE:  # no legend that cannot be scrolled may be cut off
        beside = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top", "maxheight": None}
        still.update_layout(legend=beside, height=max(still.layout.height, LINE * (groups + 6)))
    size = {"width": WIDTH, "height": still.layout.height, "scale": SCALE}
    try:
        # Without mathjax, which it would fetch from the network.
        image: bytes = kaleido.calc_fig_sync(still, {"format": "png", **size}, kopts={"mathjax": False})
    except (ChromeNotFoundError, BrowserFailedError) as error:
        raise UserError(
            f"PNG needs a Chrome or Chromium browser ({error}); install one, or draw pages alone"
        ) from error
    return image


def require_kaleido() -> None:
    """Raises UserError where PNG cannot be made."""
    try:
        import kaleido  # noqa: F401
    except ImportError:
        raise UserError("PNG needs kaleido: pip install 'tgvae[pictures]'; or leave out --format png") from None
