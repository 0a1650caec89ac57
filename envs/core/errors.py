"""The one exception that a user may see: a sentence that names the field, the value and the mend."""


class CityloopError(Exception):
    """Something the user gave cannot be used. The message is one clear sentence; no trace is printed for it."""


class ReadingError(CityloopError):
    """A reading does not fit its schema.

    Attributes:
        field: where it is, e.g. ``readings.queue_veh[3]``.
        value: what was found there.
        mend: what would be accepted.
    """

    def __init__(self, field: str, value: object, mend: str):
        self.field, self.value, self.mend = field, value, mend
        super().__init__(f"{field} is {value!r}: {mend}")
