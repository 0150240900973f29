"""Arguments of verbs that are no fields of a recipe, such as `trials=12`, read as YAML and checked."""

from __future__ import annotations

from typing import Any

import yaml

from camelid.errors import UserError


def read_value(argument: str) -> Any:
    """The value of `key=value`. Raises UserError."""
    key, _, value = argument.partition("=")
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"the value of '{key}' is not readable as YAML", where=argument) from error


def whole_number(argument: str, meaning: str) -> int:
    """The value of `key=value` where it is a number above 0. Raises UserError."""
    value = read_value(argument)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{argument}: {meaning}", where="command line", mend=f"{argument.partition('=')[0]}=3")
    return value
