"""What a label's key and value may be, in the words in which Kubernetes refuses others.

Pure; ``label_text`` and the API server's ``shapes`` call me.
"""

from __future__ import annotations

import re

LIMIT_NAME_CHARACTERS = 63
LIMIT_PREFIX_CHARACTERS = 253
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?\Z", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII)
_LETTERS = "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_NAMES = (f"must {_LETTERS} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
          "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')")
_VALUES = (f"a valid label must be an empty string or {_LETTERS} (e.g. 'MyValue',  or 'my_value',  or '12345', regex "
           "used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')")
_PREFIXES = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
             "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
             r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")


def key_fault(key: str) -> str:
    """What is wrong with a label's key; empty where nothing is."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return f"a valid label key {_NAMES} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
    faults = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    if len(prefix) > LIMIT_PREFIX_CHARACTERS:
        faults.append(f"prefix part must be no more than {LIMIT_PREFIX_CHARACTERS} bytes")
    if prefix and not _PREFIX.match(prefix[:LIMIT_PREFIX_CHARACTERS + 1]):
        faults.append(f"prefix part {_PREFIXES}")
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > LIMIT_NAME_CHARACTERS:
        faults.append(f"name part must be no more than {LIMIT_NAME_CHARACTERS} bytes")
    if not _NAME.match(name):
        faults.append(f"name part {_NAMES}")
    return "; ".join(faults)


def value_fault(value: str) -> str:
    """What is wrong with a label's value; empty where nothing is."""
    faults = [f"must be no more than {LIMIT_NAME_CHARACTERS} bytes"] if len(value) > LIMIT_NAME_CHARACTERS else []
    if value and not _NAME.match(value):
        faults.append(_VALUES)
    return "; ".join(faults)
