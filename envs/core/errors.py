"""The base of all exceptions shown to users: one sentence with the field, the value and the remedy."""


class CityloopError(Exception):
    """Input from the user cannot be used. The message is one clear sentence; no traceback is printed for it."""


def first_line(error: Exception) -> str:
    """The first line of a library's message that is not empty, or the name of the exception's class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class ReadingError(CityloopError):
    """A reading does not fit its schema.

    Attributes:
        field: path of the reading, e.g. ``readings.queue_veh[3]``.
        value: value found there.
        mend: description of the accepted values.
    """

    def __init__(self, field: str, value: object, mend: str):
        self.field, self.value, self.mend = field, value, mend
        super().__init__(f"{field} is {value!r}: {mend}")
