"""Check for plain data: mappings with text keys, lists, texts, numbers, true, false and null.

YAML also has dates, binary data, keys of any type and values that contain themselves. A configuration cannot have them.
"""

from typing import Any

DEEPEST = 50  # a deeper value contains itself, through an alias


def find_non_plain(key: str, value: Any) -> str | None:
    """Return the end of a sentence on what is not plain in the base or the factors of a study; None if all is plain.

    The names of factors and levels may be numbers and the like; they are converted to texts.
    """
    if key != "factors" or not isinstance(value, dict):
        return _find_non_plain_value(value)
    levels = [entry.get("levels") if isinstance(entry, dict) else entry for entry in value.values()]
    values = [list(item.values()) if isinstance(item, dict) else item for item in levels]
    return next((found for item in values if (found := _find_non_plain_value(item))), None)


def _find_non_plain_value(value: Any, depth: int = 0) -> str | None:
    """Return the end of a sentence on what is not plain in a value; None if all is plain."""
    if depth > DEEPEST:
        return "a value that contains itself"
    if isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            return f"the key {odd!r}, which is not a text; put it in quotes"
        return next((found for item in value.values() if (found := _find_non_plain_value(item, depth + 1))), None)
    if isinstance(value, list):
        return next((found for item in value if (found := _find_non_plain_value(item, depth + 1))), None)
    is_plain = value is None or isinstance(value, str | bool | int | float)
    return None if is_plain else f"{value!r}, a {type(value).__name__}; put it in quotes"
