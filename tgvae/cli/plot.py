"""`tgvae plot`: plots of a run, one file each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from plotly.graph_objects import Figure

from tgvae.cli.evaluate import open_split
from tgvae.cli.options import parse
from tgvae.cli.output import command, print_json, print_next_steps
from tgvae.errors import UserError
from tgvae.evaluation.html_report import definition_list, html_page, plots_html
from tgvae.evaluation.plots.catalog import PLOT_IDS, PlotId, model_plots, training_plot
from tgvae.evaluation.plots.catalog import Plot as RenderedPlot
from tgvae.files import write_bytes, write_text
from tgvae.runs import load_run, open_data, read_run

Format = Literal["html", "png"]
PNG_WIDTH, PNG_SCALE = 1000, 2
MAX_LEGEND_ABOVE, LEGEND_LINE = 8, 20  # groups in a legend above a PNG; pixels per group in a legend at the side


@dataclass(frozen=True)
class Plot:
    """Plot what a run has learnt: self-contained HTML pages, or PNG.

    Plots:
      topics      most probable words of the most frequent topics
      map         topics in two dimensions, by the similarity of their words
      similarity  similarity of all pairs of topics
      time        topic proportions by year, for documents with dates
      labels      topic proportions by label, for documents with labels
      documents   documents in two dimensions, by the similarity of their topics
      latent      held-out sentences, vectors or nodes in latent space
      training    terms of the objective over training; also while the run is training

    Examples:
      tgvae plot runs/sotu
      tgvae plot runs/sotu --what map documents --format html png --out plots
    """

    run: tyro.conf.Positional[Path]
    """A run folder."""
    what: tuple[PlotId, ...] = PLOT_IDS
    """Which plots."""
    out: Path | None = None
    """Folder for the files; default: RUN/plots."""
    format: tuple[Format, ...] = ("html",)
    """png needs kaleido, `pip install 'tgvae[pictures]'`, and a Chrome or Chromium browser."""
    data: Path | None = None
    """Where the data is now, if it has moved."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    options = parse(Plot, "plot", arguments)
    if not options.what or not options.format:
        raise UserError("--what and --format need at least one value each; leave them out for all plots as HTML")
    if "png" in options.format:
        require_kaleido()
    plots = plot_run(options.run, options.what, options.data)
    folder = options.out or options.run / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: save(plot, options.run, folder, options.format) for name, plot in plots.items()}
    left_out = {name: plot.caption for name, plot in plots.items() if plot.figure is None}
    if options.json:
        written = {name: [str(path) for path in paths] for name, paths in files.items() if paths}
        print_json({"files": written, "left_out": left_out})
        return
    for name in plots:
        print(f"{name:12}{f'left out: {left_out[name]}' if name in left_out else ', '.join(map(str, files[name]))}")
    print_next_steps([folder], ["open them in a browser", command("evaluate", options.run)])


def plot_run(run: Path, ids: Sequence[PlotId] = PLOT_IDS, data: Path | None = None) -> dict[str, RenderedPlot]:
    """Return plots of a run by id; ``training`` alone needs neither the data nor a finished training.

    Raises:
        UserError: no run folder, or its data is missing or has changed.
    """
    read_run(run)
    if set(ids) == {"training"}:
        return training_plot(run)
    model, opened = load_run(run), open_data(run, data)
    train, held_out = (open_split(run, model, opened, split) for split in ("train", "test"))
    return model_plots(model, train, held_out, ids, run)


def save(plot: RenderedPlot, run: Path, folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Write a plot in the given formats and return the files; none if the plot has no figure."""
    if plot.figure is None:
        return []
    files = [folder / f"{plot.id}.{suffix}" for suffix in formats]
    for file in files:
        if file.suffix == ".html":
            sections = {"Plot": plots_html([plot]), "About": definition_list({"run": str(run)})}
            write_text(file, html_page(f"{plot.heading}, {run.name}", sections))
        else:
            write_bytes(file, png(plot.figure))
    return files


def png(figure: Figure) -> bytes:
    """Return a PNG on white, 2,000 pixels wide. Raises UserError if there is no browser to render it."""
    import kaleido
    from kaleido.errors import BrowserFailedError, ChromeNotFoundError

    still = Figure(figure).update_layout(paper_bgcolor="white")
    still.update_traces({"textfont_shadow": "auto"}, {"mode": "text"})  # legible on markers of any colour
    groups = sum(trace.name is not None and trace.showlegend is not False for trace in still.data)
    if groups > MAX_LEGEND_ABOVE:  # a legend above the plot is cut off, because a PNG cannot be scrolled
        side = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top", "maxheight": None}
        still.update_layout(legend=side, height=max(still.layout.height, LEGEND_LINE * (groups + 6)))
    size = {"width": PNG_WIDTH, "height": still.layout.height, "scale": PNG_SCALE}
    try:
        # kaleido would load MathJax from the network.
        image: bytes = kaleido.calc_fig_sync(still, {"format": "png", **size}, kopts={"mathjax": False})
    except (ChromeNotFoundError, BrowserFailedError) as error:
        raise UserError(
            f"PNG needs a Chrome or Chromium browser ({error}); install one, or leave out --format png"
        ) from error
    return image


def require_kaleido() -> None:
    """Raise UserError if kaleido is not installed."""
    try:
        import kaleido  # noqa: F401
    except ImportError:
        raise UserError("PNG needs kaleido: pip install 'tgvae[pictures]'; or leave out --format png") from None
