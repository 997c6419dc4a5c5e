"""The errors a user can meet. Each says where, what, and how to mend it."""


class TidrError(Exception):
    """A fault in what the user gave us, or in what the machine can do.

    `where` is a dotted scene path, a file (with line or key) or a function name; `what` states the fault and what was
    expected; `mend` says what to do about it.
    """

    def __init__(self, where: object, what: str, mend: str = "") -> None:
        self.where, self.what, self.mend = str(where), what, mend
        super().__init__(f"{self.where}: {what}" + (f" ({mend})" if mend else ""))

    def __reduce__(self) -> tuple:
        return type(self), (self.where, self.what, self.mend)  # what was raised in another process


class FileError(TidrError):
    """A file that is missing, malformed, too large or outside the scene's folder."""


class SceneError(TidrError):
    """A scene that contradicts itself: unknown name, wrong shape, index out of range, cycle."""


class BackendError(TidrError):
    """A compute backend that was asked for and did not start."""


class GradientError(TidrError):
    """A tape that was misused, or a loss or gradient that is not finite."""
