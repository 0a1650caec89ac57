"""SWMM's input file as sections of rows: read, change a little, write.

The packages that parse these files refuse some that SWMM itself runs (an hour of 24:00:00, for one). A site needs only
the rows of a few sections, and a run only a few changes, so a file is parsed only into rows of words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

from envs.core.errors import CityloopError
from envs.core.machine.warn_once import warn_once

LOGGER = logging.getLogger(__name__)
LINE_END = re.compile(r"\r\n|\r|\n")
PLAIN_WORD, WORD = re.compile(r"[^ \t]+"), re.compile(r'"([^"]*)"|([^ \t]+)')
"""Words that blanks and tabs part, and those in quotation marks; Python parts them at more signs, such as U+00A0."""

FOLDED = str.maketrans(ascii_uppercase, ascii_lowercase)
"""What `folded` replaces."""

US_UNITS = ("CFS", "GPM", "MGD")
FOOT_M, ACRE_HA, INCH_MM = 0.3048, 0.404686, 25.4
SECTIONS = (
    *("TITLE", "OPTION-S", "FILE-S", "RAINGAGE-S", "TEMPERATURE", "EVAP-ORATION", "SUBCATCHMENT-S", "SUBAREA-S"),
    *("INFIL-TRATION", "AQUIFER-S", "GROUNDWATER", "SNOWPACK-S", "JUNC-TIONS", "OUTFALL-S", "STORAGE", "DIVIDER-S"),
    *("CONDUIT-S", "PUMP-S", "ORIFICE-S", "WEIR-S", "OUTLET-S", "XSECT-IONS", "TRANSECT-S", "LOSS-ES", "CONTROL-S"),
    *("POLLUT-ANTS", "LANDUSE-S", "BUILDUP", "WASHOFF", "COVERAGE-S", "INFLOW-S", "DWF", "PATTERN-S", "RDII"),
    *("HYDROGRAPH-S", "LOADING-S", "TREATMENT", "CURVE-S", "TIMESERIES", "REPORT", "COORDINATE-S", "VERTICES"),
    *("POLYGON-S", "LABEL-S", "SYMBOL-S", "BACKDROP", "TAG-S", "PROFILE-S", "MAP", "LID_CONTROL-S", "LID_USAGE"),
    *("GWF", "ADJUSTMENT-S", "EVENT-S", "STREET-S", "INLET_USAGE", "INLET-S"),
)
"""All sections, in SWMM's order: a header stands for the first section whose name it begins with, up to the dash."""

NODE_SECTIONS = ("JUNCTIONS", "OUTFALLS", "DIVIDERS", "STORAGE")
LINK_SECTIONS = ("CONDUITS", "PUMPS", "ORIFICES", "WEIRS", "OUTLETS")

REFERENCES: dict[str, dict[int, tuple[str, ...]]] = {
    "SUBCATCHMENTS": {1: ("RAINGAGES",), 2: (*NODE_SECTIONS, "SUBCATCHMENTS")},
    "DIVIDERS": {2: LINK_SECTIONS},
    **{section: {1: NODE_SECTIONS, 2: NODE_SECTIONS} for section in LINK_SECTIONS},
    "XSECTIONS": {0: LINK_SECTIONS},
    "COORDINATES": {0: NODE_SECTIONS},
    "SYMBOLS": {0: ("RAINGAGES",)},
}
"""Section → place in its rows → the sections that define what is named there."""

FILE_AT = {"TIMESERIES": 1, "RAINGAGES": 4, "TEMPERATURE": 0}
"""Section → the word of its rows that may be ``FILE``; a name follows."""

OF_RAIN = ("RAINFALL", "RUNOFF", "RDII")
"""Kinds of files with rain, runoff or RDII that replace the input's own."""

VARIABLES = ("VARIABLE", "EXPRESSION")
KEYWORDS = (*VARIABLES, "RULE", "IF", "AND", "OR", "THEN", "ELSE", "PRIORITY")
"""What rows of rules begin with; variables belong to no rule."""

IDEAL_PUMP = ("*", "ON")
"""Curve and status of a pump whose row has only its name and its nodes."""

DRY_SERIES = "cityloop_dry"
"""Name of a series without rain, for gauges whose rain is set at run time."""

CMS_PER_UNIT = {
    "CFS": FOOT_M**3,
    "GPM": 6.30902e-5,
    "MGD": 0.0438126,
    "CMS": 1.0,
    "LPS": 1e-3,
    "MLD": 1 / 86.4,
}
"""Cubic metres a second in each of SWMM's units of flow."""


class Inp:
    """A SWMM input.

    Args:
        path: the file.

    Raises:
        CityloopError: if it cannot be read, has no sections, or no unit of flow that SWMM knows.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            text = decoded(path.read_bytes())
        except OSError as error:
            raise CityloopError(f"file {path} cannot be read ({error.strerror}): give a SWMM input file") from None
        self._lines: dict[str, list[str]] = {}
        self._parsed: dict[str, list[list[str]]] = {}  # of sections that were read: series are long
        lines: list[str] = []
        for line in lines_of(text):
            if line.lstrip().startswith("["):
                lines = self._lines.setdefault(_section(line), [])
            else:
                lines.append(line)
        if "OPTIONS" not in self._lines:
            raise CityloopError(f"file {path} has no section [OPTIONS]: give a SWMM input file")
        self.options = {row[0].upper(): row[1] for row in self.rows("OPTIONS") if len(row) > 1}
        unit = self.options.get("FLOW_UNITS", "CFS")
        if unit.upper() not in CMS_PER_UNIT:
            raise CityloopError(f"{path.name}: FLOW_UNITS is {unit!r}: SWMM knows {', '.join(CMS_PER_UNIT)}")

    def rows(self, section: str) -> list[list[str]]:
        """The words of every row of a section, comments left out; empty if there is no such section.

        Names of other things are spelled as where these are defined, as SWMM does not care for their case (`folded`).
        """
        rows = [list(words) for words in self._words_of(section)]
        for place, defined_in in REFERENCES.get(section, {}).items():
            spelled = {folded(row[0]): row[0] for other in defined_in for row in self._words_of(other)}
            for row in rows:
                if place < len(row):
                    row[place] = spelled.get(folded(row[place]), row[place])
        return rows

    def _words_of(self, section: str) -> list[list[str]]:
        if section not in self._parsed:
            lines = (_words(line.partition(";")[0]) for line in self._lines.get(section, []))
            self._parsed[section] = [words for words in lines if words]
        return self._parsed[section]

    def series(self, name: str) -> list[list[str]]:
        """The words of every row of a time series, without its name; SWMM does not care for its case.

        Raises:
            CityloopError: if a row has a name alone, or the series lies in a file of its own that cannot be read.
        """
        rows = [row[1:] for row in self._words_of("TIMESERIES") if folded(row[0]) == folded(name)]
        if any(row in ([], ["FILE"]) for row in rows):
            raise CityloopError(f"{self.path.name}: time series {name} has a row without a value: complete it")
        if not rows or rows[0][0].upper() != "FILE":
            return rows
        path = self.path.parent / rows[0][1]
        try:
            lines = lines_of(decoded(path.read_bytes()))
        except OSError as error:
            raise CityloopError(
                f"{self.path.name}: file {path} of time series {name} cannot be read ({error.strerror}): correct it"
            ) from None
        return [words[:3] for line in lines if (words := plain_words(line.partition(";")[0]))]  # SWMM reads no more

    def files(self) -> list[Path]:
        """Files that time series and rain lie in, and those that are used otherwise; of these, those that are there."""
        names = [row[2] for row in self.used()]
        for section, place in FILE_AT.items():
            names += [row[place + 1] for row in self.rows(section) if _names_file(row, place)]
        return [path for name in names if (path := self.path.parent / name).is_file()]

    def used(self) -> list[list[str]]:
        """Rows of the files to read in section ``FILES``: ``USE``, kind, and name."""
        return [row for row in self.rows("FILES") if len(row) > 2 and row[0].upper() == "USE"]

    @property
    def ignores_rain(self) -> bool:
        """Whether the input ignores its gauges: no rain falls."""
        return self.options.get("IGNORE_RAINFALL", "NO").upper() == "YES"

    @property
    def metric(self) -> bool:
        """Whether lengths are metres, not feet."""
        return self.options.get("FLOW_UNITS", "CFS").upper() not in US_UNITS

    @property
    def metre(self) -> float:
        """Metres in a unit of length."""
        return 1.0 if self.metric else FOOT_M

    @property
    def hectare(self) -> float:
        """Hectares in a unit of a catchment's area."""
        return 1.0 if self.metric else ACRE_HA

    @property
    def millimetre(self) -> float:
        """Millimetres in a unit of rain."""
        return 1.0 if self.metric else INCH_MM

    @property
    def cms(self) -> float:
        """Cubic metres a second in a unit of flow."""
        return CMS_PER_UNIT[self.options.get("FLOW_UNITS", "CFS").upper()]

    @property
    def cubic_metre(self) -> float:
        """Cubic metres in a unit of volume (cubic feet or cubic metres)."""
        return self.metre**3

    @property
    def sections(self) -> list[str]:
        """Names of all sections."""
        return list(self._lines)

    def replace(self, section: str, rows: Sequence[Sequence[object]]) -> None:
        """Put other rows in a section's place."""
        self._lines[section] = []
        self.add(section, rows)
        if section == "OPTIONS":
            self.options = {str(row[0]).upper(): str(row[1]) for row in rows if len(row) > 1}

    def add(self, section: str, rows: Sequence[Sequence[object]]) -> None:
        """Put more rows at the end of a section."""
        self._parsed.pop(section, None)
        lines = self._lines.setdefault(section, [])
        lines += [" ".join(_quoted(str(word)) for word in row) for row in rows]

    def set_options(self, **options: object) -> None:
        """Change options, or add them."""
        rows = {row[0].upper(): row[1:] for row in self.rows("OPTIONS")}
        rows.update({key.upper(): [str(value)] for key, value in options.items()})
        self.replace("OPTIONS", [[key, *rest] for key, rest in rows.items()])

    def write(self, path: Path) -> None:
        """Write the input to another file."""
        parts = [f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in self._lines.items()]
        path.write_text("\n".join(parts), encoding="utf-8")


def rain_elsewhere(inp: Inp) -> str | None:
    """Effects of rain that SWMM computes or reads before a run, so that rain set at run time would miss them."""
    held = [row[1].upper() for row in inp.used() if row[1].upper() in OF_RAIN]
    if inp.rows("RDII") or held:
        return f"[FILES] that say what rain came to ({held[0]})" if held else "[RDII], which SWMM works out beforehand"
    return None


def refuse_rain_elsewhere(inp: Inp) -> None:
    """Make sure that rain acts through the gauges alone, where it can be set at run time.

    Raises:
        CityloopError: if SWMM would work some of it out beforehand, or read it.
    """
    if inp.ignores_rain:
        raise CityloopError(f"{inp.path.name}: IGNORE_RAINFALL is YES, and no rain would fall: set it to NO")
    what = rain_elsewhere(inp)
    if what is not None:
        raise CityloopError(f"{inp.path.name} has {what}: other rain than the input's would miss it; use rain: file")


def dry_gauges(inp: Inp) -> None:
    """Make all rain gauges dry, so that rain can be set at run time."""
    rows = [[row[0], "INTENSITY", "0:05", "1.0", "TIMESERIES", DRY_SERIES] for row in inp.rows("RAINGAGES")]
    inp.replace("RAINGAGES", rows)
    inp.add("TIMESERIES", [[DRY_SERIES, "0", "0"]])


def strip(inp: Inp, gates: Collection[str]) -> None:
    """Remove parts that would slow a run down or act in the controller's place: unused series, reports, threads, rules.

    Args:
        inp: the input; it is changed.
        gates: links that are controlled: rules that act on others alone go on acting.
    """
    inp.replace("CONTROLS", _rules_besides(inp, gates))
    sections = [section for section in inp.sections if section != "TIMESERIES"]
    used = {folded(word) for section in sections for row in inp.rows(section) for word in row}
    inp.replace("TIMESERIES", [row for row in inp.rows("TIMESERIES") if folded(row[0]) in used])
    for section, place in FILE_AT.items():
        if section in inp.sections:
            inp.replace(section, [_found(inp, row, place) for row in inp.rows(section)])
    if "LID_USAGE" in inp.sections:
        inp.replace("LID_USAGE", [[*row[:8], *("*" for _ in row[8:9]), *row[9:]] for row in inp.rows("LID_USAGE")])
    inp.replace("FILES", [[*row[:2], str((inp.path.parent / row[2]).resolve())] for row in inp.used()])
    inp.replace("REPORT", [["SUBCATCHMENTS", "NONE"], ["NODES", "NONE"], ["LINKS", "NONE"]])
    inp.set_options(THREADS=1)


def _rules_besides(inp: Inp, gates: Collection[str]) -> list[list[str]]:
    """Rows of the rules that act on none of these links, and of the variables that rules may use."""
    rows = inp.rows("CONTROLS")
    kept = [row for row in rows if _keyword(row) in VARIABLES]
    names = {folded(gate) for gate in gates}
    for rule in _rules([row for row in rows if _keyword(row) not in VARIABLES]):
        links = list(dict.fromkeys(_acted_on(rule)))
        held = [link for link in links if folded(link) in names]
        if not held:
            kept += rule
        elif len(held) < len(links):
            name, others = " ".join(rule[0][1:]), ", ".join(link for link in links if link not in held)
            sentence = f"of what it acts on {', '.join(held)} is controlled, and {others} is not; split it"
            warn_once(LOGGER, inp.path, f"{inp.path.name}: rule {name} is left out: {sentence}")
    return kept


def ruled(inp: Inp, gates: Collection[str]) -> set[str]:
    """Links that rules act on where these are controlled; `folded`."""
    return {folded(link) for link in _acted_on(_rules_besides(inp, gates))}


def _rules(rows: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """The rows of each rule."""
    starts = [k for k, row in enumerate(rows) if _keyword(row) == "RULE"]
    for start, end in pairwise([*starts, len(rows)]):
        yield list(rows[start:end])


def _acted_on(rule: Sequence[list[str]]) -> Iterator[str]:
    """Links in a rule's actions; an ``AND`` continues the clause before it."""
    acts = False
    for row in rule:
        keyword = _keyword(row)
        acts = keyword in ("THEN", "ELSE") or (acts and keyword == "AND")
        if acts and len(row) > 2:
            yield row[2]


def _keyword(row: Sequence[str]) -> str:
    """Keyword at the beginning of a rule's row; SWMM ignores the rest of its word."""
    return next((keyword for keyword in KEYWORDS if row[0].upper().startswith(keyword)), "")


def free_pumps(inp: Inp, gates: Sequence[str]) -> None:
    """Remove the start and stop depths of controlled pumps."""
    inp.replace("PUMPS", [_freed(row) if row[0] in gates else row for row in inp.rows("PUMPS")])


def ideal_pumps(inp: Inp) -> set[str]:
    """Pumps without a curve: they pass their inflow on at any level."""
    return {row[0] for row in inp.rows("PUMPS") if row[3:4] in ([], [IDEAL_PUMP[0]])}


def seeping(inp: Inp) -> set[str]:
    """Storage nodes whose water seeps into the ground: those with a conductivity other than zero.

    It stands alone behind the shape, the surcharge and the evaporation, or between a suction and a deficit.
    """
    soils = {row[0]: row[8 if row[4:5] and row[4].upper() == "TABULAR" else 10 :] for row in inp.rows("STORAGE")}
    return {node for node, soil in soils.items() if soil and soil[len(soil) > 1].strip("0.")}


def _freed(row: list[str]) -> list[str]:
    """A pump's row without start and stop depths; omitted words before these get SWMM's defaults."""
    return [*row[:5], *IDEAL_PUMP[max(0, len(row) - 3) :], "0", "0"]


def _names_file(row: Sequence[str], place: int) -> bool:
    return len(row) > place + 1 and row[place].upper() == "FILE"


def _found(inp: Inp, row: list[str], place: int) -> list[str]:
    """A row with the file that it names, if any, where it is, not where the input is copied to."""
    if not _names_file(row, place):
        return row
    return [*row[: place + 1], str((inp.path.parent / row[place + 1]).resolve()), *row[place + 2 :]]


def lines_of(text: str) -> list[str]:
    """Lines of a file, ended as SWMM ends them."""
    return LINE_END.split(text)


def decoded(content: bytes) -> str:
    """The text of a file in UTF-8, or else in Latin-1, where no two names become one."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def folded(name: str) -> str:
    """A name as SWMM compares it: of its letters only A to Z are as good as a to z."""
    return name.translate(FOLDED)


def plain_words(text: str) -> list[str]:
    """The words of a row without quotation marks; a letter of some code pages is a space of another kind to Python."""
    return text.split() if text.isascii() else PLAIN_WORD.findall(text)


def _section(header: str) -> str:
    """Name of a section; SWMM recognises it by its beginning and ignores the rest."""
    word = header.partition(";")[0].split()[0].upper()
    known = (section for section in SECTIONS if word.startswith(f"[{section.partition('-')[0]}"))
    return next(known, word).replace("-", "").strip("[]")


def _quoted(word: str) -> str:
    return word if PLAIN_WORD.fullmatch(word) else f'"{word}"'


def _words(text: str) -> list[str]:
    """The words of a row; those in quotation marks are one."""
    if text.count('"') % 2 or '"' not in text:  # an odd one is a letter like others
        return plain_words(text)
    return [word if quoted is None else quoted for quoted, word in map(re.Match.groups, WORD.finditer(text))]
