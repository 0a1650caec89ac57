"""Contents of an evaluation's tables."""

from envs.core.statistics import compare, seed_ratios, summarise
from training.evaluation.evaluate import evaluate
from training.evaluation.plots import periods
from training.evaluation.results import Evaluation, Result
from verbs.tables import evaluation_table, periods_table, standings_table


def test_a_wait_never_stands_without_its_service():
    found = evaluate("transit/cologne", ["reactive", "insertion"], seeds=2, processes=1, save=False, duration_s=3600.0)
    table = evaluation_table(found)
    columns = {str(column.header): list(column.cells) for column in table.columns}
    served = [row["served_pct"] for row in found.controllers["reactive"].rows]
    assert columns["served_pct"][0] == f"{sum(served) / 2:.2f}"
    assert len(columns["empty_pct"]) == 2
    told = found.periods()
    assert list(told) == ["inward", "both ways", "outward"]
    assert sum(means["reactive"]["asked"] for means in told.values()) == sum(
        row["asked"] for row in found.controllers["reactive"].rows
    ) / len(found.seeds)
    assert periods_table(found).row_count == 3 * len(found.controllers)
    assert len(periods(found).axes[0].patches) == 3 * len(found.controllers)


def test_a_share_of_nothing_is_endless_and_seeds_that_do_not_count_are_told():
    values = {"mine": [3.0, 5.0], "other": [0.0, 0.0]}
    rows = {name: [{"seed": k, "interventions": 0} for k in range(3)] for name in values}
    found = Evaluation(
        scenario="drainage/astlingen",
        label="astlingen",
        hash="",
        split="test",
        seeds=[0, 1, 2],
        kpi="objective",
        versions={},
        controllers={name: Result(summarise(mine), 1, rows[name]) for name, mine in values.items()},
        paired={"other": compare(*values.values())},
        ratios=seed_ratios(values["mine"], [values["other"]]),
        void=(2,),
    )
    table = evaluation_table(found)
    assert "objective on 2 of 3 test seeds" in str(table.title)
    assert list(table.columns[-1].cells) == ["", "∞"]
    shares = [list(column.cells) for column in standings_table([found]).columns if "÷" in str(column.header)]
    assert shares == [["∞", "∞"]] * 4
