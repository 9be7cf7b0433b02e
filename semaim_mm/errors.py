"""Errors that a user can cause, told as sentences."""


class InputError(ValueError):
    """A wrong config value, file or folder: what was wrong, where, and what to do."""


class UnreadableImageError(InputError):
    """An image file that can't be decoded; training may be told to skip some of these."""
