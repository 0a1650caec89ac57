"""What stands in an evaluation's table."""

from training.evaluate import evaluate
from training.plots import periods
from verbs.tables import evaluation_table, periods_table


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
