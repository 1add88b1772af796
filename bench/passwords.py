"""Masks passwords in what is printed and recorded."""

from __future__ import annotations

import os
import re
from typing import TypeVar

Text = TypeVar("Text", bound="str | None")

# Of the environment: what MLflow and PostgreSQL log in with.
VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
# Of an address: up to the last @, since a password may contain anything; a single word before it
# is a token if the address is a server's; a parameter with such a name.
USER = re.compile(r"(://[^\s/:@]*):\S*(?=@)")
TOKEN = re.compile(r"(https?://)[^\s/:@?#]+(?=@)")
PARAMETER = re.compile(r"(?i)([?&][\w.-]*(?:password|passwd|token|secret|key)[\w.-]*=)[^&\s'\"]*")


def without_password(text: Text) -> Text:
    """A text with the passwords of addresses, and those in the environment, as `***`."""
    if text is None:
        return text
    masked = USER.sub(r"\1:***", text)
    masked = PARAMETER.sub(r"\1***", TOKEN.sub(r"\1***", masked))
    for name in VARIABLES:
        if secret := os.environ.get(name):
            masked = masked.replace(secret, "***")
    return masked  # type: ignore[return-value]
