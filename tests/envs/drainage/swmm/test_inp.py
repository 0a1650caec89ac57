"""SWMM's input as rows: what is read, what a run changes, and what it must leave alone."""

import pytest

from envs import CityloopError
from envs.drainage.swmm.inp import Inp, dry_gauges, free_pumps, refuse_rain_elsewhere, strip

TEXT = """
[TITLE]
Anything ; with a comment
[OPTIONS]
FLOW_UNITS  {unit}
THREADS     4
[RAINGAGES]
;;Name  Format Interval
G1      VOLUME 0:05 1.0 TIMESERIES rain ; the only one
[INFLOWS]
J1 FLOW inflow FLOW 1.0 1.0
[DWF]
J1 FLOW 0.01 "" "day night"
[CONTROLS]
RULE R1
IF NODE T DEPTH > 1
THEN ORIFICE O SETTING = 1
[TIMESERIES]
rain    0:00 1.0
inflow  0:00 0.5
unused  0:00 9.9
"""


@pytest.fixture
def inp(tmp_path):
    return read(tmp_path)


def read(folder, unit="CMS"):
    path = folder / "a.inp"
    path.write_text(TEXT.format(unit=unit))
    return Inp(path)


def test_rows_are_words_without_comments(inp):
    assert inp.rows("RAINGAGES") == [["G1", "VOLUME", "0:05", "1.0", "TIMESERIES", "rain"]]
    assert inp.rows("DWF") == [["J1", "FLOW", "0.01", "", "day night"]]
    assert inp.rows("NOTHING") == []


@pytest.mark.parametrize(
    ("unit", "metre", "cms", "mm"),
    [("CMS", 1, 1, 1), ("LPS", 1, 0.001, 1), ("CFS", 0.3048, 0.0283168, 25.4), ("MGD", 0.3048, 0.0438126, 25.4)],
)
def test_units(tmp_path, unit, metre, cms, mm):
    inp = read(tmp_path, unit)
    assert (inp.metre, inp.millimetre) == (metre, mm)
    assert inp.cms == pytest.approx(cms, rel=1e-5)
    assert inp.cubic_metre == pytest.approx(metre**3)


def test_a_run_keeps_every_series_that_somebody_uses(inp):
    strip(inp, ("O",))
    assert [row[0] for row in inp.rows("TIMESERIES")] == ["rain", "inflow"]
    assert inp.rows("CONTROLS") == []
    assert inp.options["THREADS"] == "1"
    assert inp.rows("REPORT") == [[what, "NONE"] for what in ("SUBCATCHMENTS", "NODES", "LINKS")]


RULES = """
[OPTIONS]
FLOW_UNITS CMS
[CONTROLS]
VARIABLE deep = NODE T DEPTH
RULE mine ; of the gate
IF NODE T DEPTH > 1
THEN ORIFICE g SETTING = 1
PRIORITY 2
RULE theirs
IF ORIFICE G SETTING < 1
AND deep > 2
THEN PUMP P STATUS = ON
AND OUTLET V SETTING = TIMESERIES slow
ELSE PUMP P STATUS = OFF
PRIORITY 1
RULE both
IF SIMULATION TIME > 1
THEN PUMP P STATUS = ON
ELSE WEIR W SETTING = TIMESERIES gone
[TIMESERIES]
slow 0:00 1
gone 0:00 1
"""


def test_rules_go_on_that_act_on_nothing_that_is_controlled(tmp_path, caplog):
    (tmp_path / "a.inp").write_text(RULES)
    inp = Inp(tmp_path / "a.inp")
    strip(inp, ("G", "W"))
    rows = inp.rows("CONTROLS")
    assert rows[0] == ["VARIABLE", "deep", "=", "NODE", "T", "DEPTH"]
    assert [row[1] for row in rows if row[0] == "RULE"] == ["theirs"]
    assert rows[-1] == ["PRIORITY", "1"]
    assert len(rows) == 8
    assert [row[0] for row in inp.rows("TIMESERIES")] == ["slow"]
    assert [record.getMessage() for record in caplog.records] == [
        "a.inp: rule both is left out: of what it acts on W is controlled, and P is not; split it"
    ]


def test_told_gauges_are_dry_and_their_series_goes(inp):
    dry_gauges(inp)
    strip(inp, ())
    assert {row[0] for row in inp.rows("TIMESERIES")} == {"inflow", "cityloop_dry"}
    assert inp.rows("RAINGAGES")[0][-1] == "cityloop_dry"


def test_what_is_written_reads_the_same(inp, tmp_path):
    strip(inp, ())
    inp.set_options(ROUTING_STEP="0:00:10")
    inp.write(tmp_path / "b.inp")
    again = Inp(tmp_path / "b.inp")
    assert again.options == inp.options
    for section in inp.sections:
        assert again.rows(section) == inp.rows(section)


def test_words_with_spaces_stay_one_word(inp, tmp_path):
    inp.replace("RAINGAGES", [["G1", "VOLUME", "0:05", "1.0", "FILE", "my rain.dat", "S1", "MM"]])
    inp.write(tmp_path / "b.inp")
    assert Inp(tmp_path / "b.inp").rows("RAINGAGES")[0][5] == "my rain.dat"


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(CityloopError, match="cannot be read"):
        Inp(tmp_path / "none.inp")


def test_sections_are_known_by_their_beginnings(tmp_path):
    (tmp_path / "a.inp").write_text("[OPTION]\nFLOW_UNITS CMS\n[RAINGAGE]\nG VOLUME 0:05 1 TIMESERIES T\n")
    assert Inp(tmp_path / "a.inp").rows("RAINGAGES")[0][0] == "G"


@pytest.mark.parametrize(
    ("header", "section"),
    [
        ("[JUNCTIONS] ;; surveyed 2019", "JUNCTIONS"),
        ("[JUNCTIONS];surveyed", "JUNCTIONS"),
        ("  [junc", "JUNCTIONS"),
        ("[RAINGAGES_ALL] radar", "RAINGAGES"),
        ("[XSECT]", "XSECTIONS"),
        ("[INLET_USAGE]", "INLET_USAGE"),
        ("[INLETS]", "INLETS"),
        ("[EVAP]", "EVAPORATION"),
        ("[NOTHING]", "NOTHING"),
    ],
)
def test_headers_are_taken_as_swmm_takes_them(tmp_path, header, section):
    path = tmp_path / "a.inp"
    path.write_text(f"[OPTIONS] ; of the run\nFLOW_UNITS CMS\n{header}\nA 1 2\n")
    assert Inp(path).rows(section) == [["A", "1", "2"]]
    assert Inp(path).metric


def test_names_of_series_do_not_depend_on_their_case(inp, tmp_path):
    path = tmp_path / "c.inp"
    path.write_text(inp.path.read_text().replace("FLOW inflow", "FLOW INFLOW"))
    other = Inp(path)
    strip(other, ())
    assert "inflow" in {row[0] for row in other.rows("TIMESERIES")}


def test_files_are_found_where_the_input_is(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text(
        "[OPTIONS]\nFLOW_UNITS CMS\n[INFLOWS]\nJ FLOW q FLOW 1\n[FILES]\nSAVE OUTFLOWS x.txt\n"
        '[TIMESERIES]\nq FILE "my q.dat"\n'
    )
    inp = Inp(path)
    strip(inp, ())
    assert inp.rows("TIMESERIES") == [["q", "FILE", str(tmp_path / "my q.dat")]]
    assert inp.rows("FILES") == [], "a run writes nothing beside its own folder"


def test_controlled_pumps_start_and_stop_for_nobody_else(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text("[OPTIONS]\nFLOW_UNITS CMS\n[PUMPS]\nP1 A B C ON 0.3 0.1\nP2 A B C ON 0.3 0.1\n")
    inp = Inp(path)
    free_pumps(inp, ["P1"])
    assert inp.rows("PUMPS") == [["P1", "A", "B", "C", "ON", "0", "0"], ["P2", "A", "B", "C", "ON", "0.3", "0.1"]]


@pytest.mark.parametrize(
    ("row", "then"),
    [
        ("P A B", ["P", "A", "B", "*", "ON", "0", "0"]),
        ("P A B C", ["P", "A", "B", "C", "ON", "0", "0"]),
        ("P A B C OFF", ["P", "A", "B", "C", "OFF", "0", "0"]),
        ("P A B C OFF 0.3", ["P", "A", "B", "C", "OFF", "0", "0"]),
    ],
)
def test_a_pump_that_leaves_words_out_is_freed_as_it_is(tmp_path, row, then):
    path = tmp_path / "a.inp"
    path.write_text(f"[OPTIONS]\nFLOW_UNITS CMS\n[PUMPS]\n{row}\nQ A B\n")
    inp = Inp(path)
    free_pumps(inp, ["P"])
    assert inp.rows("PUMPS") == [then, ["Q", "A", "B"]]


def test_no_control_of_rain_where_it_falls_writes_a_report(inp):
    inp.replace("LID_USAGE", [["S", "B", *"123456", "its report.txt", "T"], ["S", "C", *"123456"]])
    strip(inp, ())
    assert inp.rows("LID_USAGE") == [["S", "B", *"123456", "*", "T"], ["S", "C", *"123456"]]


def test_what_is_called_file_is_none(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text(
        "[OPTIONS]\nFLOW_UNITS CMS\n[RAINGAGES]\nFILE VOLUME 0:05 1.0 TIMESERIES FILE\n"
        "[INFLOWS]\nJ FLOW q\n[TIMESERIES]\nFILE 0:00 1\nq FILE FILE\n"
    )
    inp = Inp(path)
    strip(inp, ())
    assert inp.rows("RAINGAGES") == [["FILE", "VOLUME", "0:05", "1.0", "TIMESERIES", "FILE"]]
    assert inp.rows("TIMESERIES") == [["FILE", "0:00", "1"], ["q", "FILE", str(tmp_path / "FILE")]]


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_line_ends_where_swmm_says_so(tmp_path, odd):
    path = tmp_path / "a.inp"
    head = f"[OPTIONS]\r\nFLOW_UNITS CMS ; one{odd}two three\n"
    path.write_bytes(f"{head}[TIMESERIES]\nq FILE q.dat\n[STORAGE]\nT 0 1\r\n".encode())
    (tmp_path / "q.dat").write_bytes(f"0:00 1 ; one{odd}two\r\n0:05 2\n".encode())
    inp = Inp(path)
    assert inp.rows("OPTIONS") == [["FLOW_UNITS", "CMS"]]
    assert inp.rows("STORAGE") == [["T", "0", "1"]]
    assert inp.series("q") == [["0:00", "1"], ["0:05", "2"]]


NAMES = """
[OPTIONS]
FLOW_UNITS CMS
[RAINGAGES]
G1 VOLUME 0:05 1.0 TIMESERIES rain
[SUBCATCHMENTS]
S1 g1 s2 1 0 1 1 0
S2 G1 tank 1 0 1 1 0
[STORAGE]
Tank 0 3 0 FUNCTIONAL 0 0 100
[OUTFALLS]
Sea 0 FREE
[ORIFICES]
gate TANK sea SIDE 0 0.65 NO
[COORDINATES]
tAnK 1 2
SEA 3 4
[SYMBOLS]
g1 5 6
"""


def test_the_case_of_names_does_not_matter_as_in_swmm(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text(NAMES)
    inp = Inp(path)
    assert [row[:3] for row in inp.rows("SUBCATCHMENTS")] == [["S1", "G1", "S2"], ["S2", "G1", "Tank"]]
    assert inp.rows("ORIFICES")[0][:3] == ["gate", "Tank", "Sea"]
    assert [row[0] for row in inp.rows("COORDINATES")] == ["Tank", "Sea"]
    assert inp.rows("SYMBOLS")[0][0] == "G1"


def test_names_are_one_where_swmm_compares_them_so(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text(
        "[OPTIONS]\nFLOW_UNITS CMS\n[STORAGE]\nÄ1 0 1\nä1 0 1\nStraße 0 1\n[JUNCTIONS]\nStrasse 0\n"
        "[ORIFICES]\nG ä1 STRAßE\nH Ä1 strasse\n",
        encoding="utf-8",
    )
    rows = Inp(path).rows("ORIFICES")
    assert rows == [["G", "ä1", "Straße"], ["H", "Ä1", "Strasse"]]  # only of A to Z the case does not matter


@pytest.mark.parametrize(("name", "encoding"), [("Válvula", "cp850"), ("闸爡门", "gbk"), ("Gate\u00a01", "utf-8")])
def test_only_blanks_and_tabs_end_a_name(tmp_path, name, encoding):
    path = tmp_path / "a.inp"
    path.write_bytes(f"[OPTIONS]\nFLOW_UNITS CMS\n[ORIFICES]\n{name}\tT J SIDE 0 0.65\n".encode(encoding))
    inp = Inp(path)
    row = inp.rows("ORIFICES")[0]
    assert row[1:] == ["T", "J", "SIDE", "0", "0.65"]
    inp.replace("ORIFICES", [row])
    inp.write(tmp_path / "b.inp")
    assert f"{row[0]} T J SIDE" in (tmp_path / "b.inp").read_text(encoding="utf-8")
    assert Inp(tmp_path / "b.inp").rows("ORIFICES") == [row]


def test_a_mark_at_the_beginning_of_a_file_does_not_matter(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text(NAMES.strip(), encoding="utf-8-sig")
    assert Inp(path).metric


def test_a_unit_that_swmm_does_not_know_is_refused(tmp_path):
    with pytest.raises(CityloopError, match=r"a\.inp: FLOW_UNITS is 'XYZ': SWMM knows CFS, GPM"):
        read(tmp_path, "XYZ")


def test_a_run_reads_the_files_that_the_input_uses_and_writes_none(tmp_path):
    path = tmp_path / "a.inp"
    path.write_text(f'{NAMES}[FILES]\nUSE HOTSTART "wet day.hsf"\nSAVE OUTFLOWS out.txt\n')
    (tmp_path / "wet day.hsf").write_bytes(b"")
    inp = Inp(path)
    assert inp.files() == [tmp_path / "wet day.hsf"]
    strip(inp, ())
    assert inp.rows("FILES") == [["USE", "HOTSTART", str(tmp_path / "wet day.hsf")]]


@pytest.mark.parametrize(("more", "what"), [("[RDII]\nTank UH 5\n", "RDII"), ("[FILES]\nUSE RUNOFF r.rof\n", "RUNOFF")])
def test_other_rain_than_the_inputs_is_refused_where_it_would_be_missed(tmp_path, more, what):
    path = tmp_path / "a.inp"
    path.write_text(NAMES)
    refuse_rain_elsewhere(Inp(path))
    path.write_text(NAMES + more)
    with pytest.raises(CityloopError, match=rf"{what}.*use rain: file"):
        refuse_rain_elsewhere(Inp(path))


def test_names_in_another_encoding_stay_apart(tmp_path):
    path = tmp_path / "a.inp"
    path.write_bytes("[OPTIONS]\nFLOW_UNITS CMS\n[STORAGE]\nSüd 0 1\nSïd 0 1\n".encode("latin-1"))
    assert [row[0] for row in Inp(path).rows("STORAGE")] == ["Süd", "Sïd"]


def test_a_file_of_the_climate_is_found_from_elsewhere(inp, tmp_path):
    (tmp_path / "climate.dat").write_text("")
    inp.replace("TEMPERATURE", [["FILE", "climate.dat"]])
    assert inp.files() == [tmp_path / "climate.dat"]
    strip(inp, ())
    assert inp.rows("TEMPERATURE") == [["FILE", str(tmp_path / "climate.dat")]]


def test_rain_that_swmm_would_ignore_is_refused(inp):
    inp.set_options(IGNORE_RAINFALL="YES")
    with pytest.raises(CityloopError, match="IGNORE_RAINFALL is YES, and no rain would fall: set it to NO"):
        refuse_rain_elsewhere(inp)


def test_only_double_quotation_marks_hold_words_together(tmp_path):
    (tmp_path / "a.inp").write_text(
        '[OPTIONS]\nFLOW_UNITS CMS\n[STORAGE]\nT\'1 "old tank" C:\\x "" 2"\nT2 "tank 3" 4\n'
    )
    assert Inp(tmp_path / "a.inp").rows("STORAGE") == [
        ["T'1", '"old', 'tank"', "C:\\x", '""', '2"'],  # an odd one is a letter like others
        ["T2", "tank 3", "4"],
    ]
    (tmp_path / "a.inp").write_text('[OPTIONS]\nFLOW_UNITS CMS\n[STORAGE]\nT\'1 "old tank" C:\\x "" \n')
    assert Inp(tmp_path / "a.inp").rows("STORAGE") == [["T'1", "old tank", "C:\\x", ""]]
