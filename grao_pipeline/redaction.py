"""Credentials in URLs, taken out of what people and files are told."""

import re

_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]*@")
_SECRET_PARAMETER = re.compile(
    r"(?i)(?<=[?&;])((?:[\w.-]*[-_])?(?:signature|sig|token|credential|password|passwd|secret|key|apikey|accesskeyid|auth))="
    r"[^&;\s'\"]+"
)


def without_credentials(text: str) -> str:
    """A text whose URLs have neither a password nor a signature.

    Example: `sftp://me:secret@host/table` → `sftp://***@host/table`; `https://host/x?sig=abc` → `https://host/x?sig=***`
    """
    if "://" not in text and "=" not in text:
        return text
    return _SECRET_PARAMETER.sub(r"\1=***", _USER_INFO.sub("***@", text))
