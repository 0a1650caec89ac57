"""Files of an evaluation: rows as CSV and Parquet, JSON, pictures, TensorBoard events; written all or nothing."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import ascii_letters
from typing import Any

import numpy as np

from envs.core.loop import ControlLoop
from envs.core.machine.files import write_json
from training.evaluation import plots
from training.evaluation.results import Evaluation, short_names
from training.pictures import save
from training.tracking.folders import staged, tensorboard, write_yaml


def write(evaluation: Evaluation, loop: ControlLoop, out: Path) -> None:
    """Write ``scenario.yaml``, rows, places, periods, ``evaluation.json``, pictures and TensorBoard events.

    Args:
        evaluation: the evaluation.
        loop: loop of the scenario, for its site and system.
        out: a new or empty folder.

    Raises:
        CityloopError: if the folder is not empty; nothing is written then.
    """
    rows = [{"controller": name, **row} for name, result in evaluation.controllers.items() for row in result.rows]
    pictures = _pictures(evaluation, loop)
    with staged(out) as folder:
        write_yaml(folder / "scenario.yaml", loop.scenario.model_dump(mode="json"))
        write_json(folder / "evaluation.json", evaluation.to_json())
        _write_tables(rows, folder)
        _write_places(evaluation, folder)
        _write_periods(evaluation, folder)
        for name, picture in pictures.items():
            save(picture, folder / f"{name}.png")
        _write_events(evaluation, list(pictures), folder)


def write_trade(evaluations: Sequence[Evaluation], pair: tuple[str, str], folder: Path) -> Path:
    """Draw one indicator against another over the settings of one scenario, as ``trade.png``; see `plots.trade`.

    Args:
        evaluations: evaluations of the same controllers and seeds, one per setting. A changed setting ends the label.
        pair: indicators on the x and the y axis.
        folder: an existing folder.

    Returns:
        Path of the picture.
    """
    labels = [evaluation.label for evaluation in evaluations]
    settings = [_setting(label, labels) for label in labels]
    path = folder / "trade.png"
    save(plots.trade(evaluations, settings, pair), path)
    return path


def _setting(label: str, labels: Sequence[str]) -> str:
    """The changed setting in a label; empty for the scenario of which the others are variants."""
    if any(other.startswith(f"{label}-") for other in labels):
        return "unchanged"
    end = label.rpartition("-")[2]
    return end.lstrip(ascii_letters + "_") or end


def _pictures(evaluation: Evaluation, loop: ControlLoop) -> dict[str, Any]:
    called = short_names(evaluation.controllers)
    pictures: dict[str, Any] = {evaluation.kpi: plots.headline(evaluation, loop.system.kpis[evaluation.kpi])}
    if evaluation.periods():
        pictures["periods"] = plots.periods(evaluation)
    over_time = plots.over_time(evaluation)
    if over_time is not None:
        pictures["over_time"] = over_time
    for column, values in evaluation.episodes[0].drawn.items():
        names = tuple(loop.site.axes[loop.system.readings[column].axis])
        draw = plots.plans if np.issubdtype(values.dtype, np.integer) else plots.courses
        pictures[column] = draw(evaluation, names, column)
    if loop.system.draw_episodes is not None:
        first = [episode for episode in evaluation.episodes if episode.seed == evaluation.seeds[0]]
        found = {called[episode.controller]: episode.drawn for episode in first}
        pictures |= loop.system.draw_episodes(loop.site, found, loop.scenario.decision_s)
    if loop.system.draw_map is not None:
        for indicator in evaluation.episodes[0].places:
            means = {called[name]: _means(evaluation, name, indicator) for name in evaluation.controllers}
            pictures[f"map_{indicator}"] = loop.system.draw_map(loop.site, means, indicator)
    return pictures


def _means(evaluation: Evaluation, controller: str, indicator: str) -> dict[str, float]:
    """Place → mean over a controller's episodes."""
    found = [episode.places[indicator] for episode in evaluation.played(controller)]
    places = dict.fromkeys(place for one in found for place in one)  # a place may lack values on some seeds
    return {place: float(np.mean([one[place] for one in found if place in one])) for place in places}


def _write_tables(rows: list[dict[str, Any]], folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")


def _write_places(evaluation: Evaluation, folder: Path) -> None:
    """``places.csv``: indicators by place, one row per controller, seed and place; no file if worlds give none."""
    if not evaluation.episodes[0].places:
        return
    indicators = list(evaluation.episodes[0].places)
    with (folder / "places.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["controller", "seed", "place", *indicators])
        for played in evaluation.episodes:
            for place in dict.fromkeys(place for values in played.places.values() for place in values):
                values = [played.places[indicator].get(place) for indicator in indicators]  # None: an empty cell
                table.writerow([played.controller, played.seed, place, *values])


def _write_periods(evaluation: Evaluation, folder: Path) -> None:
    """``periods.csv``: indicators by period, one row per controller, seed and period; no file if worlds give none."""
    rows = [
        {"controller": played.controller, "seed": played.seed, "period": period, **values}
        for played in evaluation.episodes
        for period, values in played.periods.items()
    ]
    if rows:
        with (folder / "periods.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
            table.writeheader()
            table.writerows(rows)


def _write_events(evaluation: Evaluation, pictures: Sequence[str], folder: Path) -> None:
    from matplotlib.image import imread

    board, called = tensorboard(folder), short_names(evaluation.controllers)
    try:
        for name, result in evaluation.controllers.items():
            tag = f"eval/{called[name]}"
            for key, value in asdict(result.summary).items():
                board.add_scalar(f"{tag}/{evaluation.kpi}_{key}", value, 0)
            board.add_scalar(f"{tag}/failures", result.failures, 0)
            counting = [row for row in result.rows if row["seed"] not in evaluation.void]
            for key, value in _medians(counting).items():
                if key != evaluation.kpi:
                    board.add_scalar(f"{tag}/{key}_median", value, 0)
            for row in result.rows:
                board.add_scalar(f"{tag}/{evaluation.kpi}", row[evaluation.kpi], int(row["seed"]))
        for name, paired in evaluation.paired.items():
            board.add_scalar(f"eval/paired/{called[name]}/{evaluation.kpi}", paired.difference, 0)
        for name in pictures:  # the file itself, because drawing takes most of the time
            board.add_image(f"eval/{name}", imread(folder / f"{name}.png"), 0, dataformats="HWC")
    finally:
        board.close()


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0] if key != "seed"}
