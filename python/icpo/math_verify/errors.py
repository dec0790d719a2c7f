"""The exception that `math_verify` defines."""

__all__ = ["TimeoutException"]


class TimeoutException(BaseException):  # the name is the peer's
    """A replaced converter or comparison took longer than its timeout."""
