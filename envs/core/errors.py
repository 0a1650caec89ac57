"""The base of all exceptions shown to users: one sentence with the field, the value and the remedy."""


class CityloopError(Exception):
    """Input from the user cannot be used. The message is one clear sentence; no traceback is printed for it."""


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
