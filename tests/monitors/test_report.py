"""Reports of a monitor: plain data, and words that say no more than it knows."""

from agents.monitors.structural.ambient import spoil
from agents.monitors.structural.report import Report, recommend
from tests.monitors.buildings import spoilt, window


def test_reports_are_plain_data(monitor):
    report = monitor.watch(*window(14))
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_it_never_calls_a_building_safe(monitor):
    report = monitor.watch(*window(14))
    sensors = monitor.watch(*[spoil(*spoilt(14, 0, "x1a", "stuck")), 20.0]).faults
    for alarm in ("none", "watch", "alarm"):
        for identified in (True, False):
            for probability in (0.0, 0.5, 1.0):
                for faults in ((), sensors):
                    words = recommend(
                        report.model_copy(
                            update={
                                "alarm": alarm,
                                "deaf": alarm,
                                "identified": identified,
                                "probability": probability,
                                "faults": faults,
                                "vibration_alarm": alarm,
                            }
                        )
                    )
                    assert "safe" not in words.lower()
                    assert "inspect" in words
                    if identified:
                        assert "Probability of damage" in words


def test_an_alarm_without_a_place_names_none(monitor):
    report = monitor.watch(*window(14)).model_copy(update={"alarm": "alarm", "unusual": False, "location": None})
    words = recommend(report)
    assert "the alarm of earlier windows stands" in words
    assert "there first" not in words
