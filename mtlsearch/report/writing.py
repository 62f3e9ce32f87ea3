"""Files of a report: the page as one HTML file, its figures as PNGs."""

from collections.abc import Sequence
from pathlib import Path

from mtlsearch.errors import ConfigError
from mtlsearch.files import check_writable, write_text
from mtlsearch.report.figure_style import Plot
from mtlsearch.report.figures import plots
from mtlsearch.report.page import page
from mtlsearch.report.reading import Report
from mtlsearch.terminal import notice

PNG_WIDTH, PNG_SCALE = 1000, 2  # in CSS pixels; device pixels to each


def check_places(output: Path, pictures: Path | None) -> None:
    """Raise ConfigError where the page or the folder of pictures cannot be written."""
    check_writable(output)
    if pictures is None:
        return
    if pictures.exists() and not pictures.is_dir():
        raise ConfigError(f"{pictures} cannot be written: it is a file; --png names a folder")
    check_writable(pictures / "x.png" if pictures.is_dir() else pictures)


def write_report(report: Report, output: Path, pictures: Path | None) -> None:
    """Write the page, and every figure as a PNG to the folder `pictures`. Raises ConfigError."""
    drawn = plots(report)
    write_text(output, page(report, drawn))
    notice(f"{output} is written ({output.stat().st_size / 1e6:.1f} MB, one file, opens without a network)")
    if pictures is not None:
        notice(write_pictures(drawn, pictures))


def write_pictures(drawn: Sequence[Plot], folder: Path) -> str:
    """Write every figure to `folder` as NAME.png; tells in a line how many, or what is missing for it."""
    if not drawn:
        return "no PNGs: the study has nothing to draw yet"
    try:
        import kaleido  # type: ignore[import-untyped, unused-ignore]
        from kaleido.errors import KaleidoError  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return "no PNGs: they need kaleido (pip install kaleido) and Chrome or Chromium"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror or error}") from error
    size = {"format": "png", "width": PNG_WIDTH, "scale": PNG_SCALE}
    figures = [
        {"fig": plot.picture(), "path": folder / f"{plot.name}.png", "opts": {**size, "height": plot.height}}
        for plot in drawn
    ]
    try:
        # MathJax would be fetched from the network.
        kaleido.write_fig_from_object_sync(figures, kopts={"mathjax": False})
    except (RuntimeError, OSError, KaleidoError) as error:  # no browser, or one that ends or hangs
        rule = "they need Chrome or Chromium; BROWSER_PATH names one that is not on the PATH"
        return f"no PNGs: {rule} ({type(error).__name__})"
    return f"{len(drawn)} PNGs are written to {folder}"
