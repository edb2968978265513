"""What a checker raises."""


class ViolationError(BaseException):
    """A promise was broken: not an Exception, so that nothing in the worker can handle it."""
