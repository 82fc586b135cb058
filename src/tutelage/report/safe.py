"""Text from logs, made safe to look at: what a name may do to a page is decided here."""

import json
import re
from typing import Any

from markupsafe import Markup

# Control characters, and the marks that reorder or hide the text around them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
# Half of a surrogate pair, which a JSON log can hold and UTF-8 cannot.
_LONE = re.compile("[\ud800-\udfff]")


def visible(value: object, limit: int = 80) -> str:
    r"""Return text that shows what it is: reordering marks spelled out, long text clipped.

    Escaping for HTML is not done here; the template does that for everything.

    >>> visible("abc\u202egpj.exe")
    'abc\\u202egpj.exe'
    >>> visible("x" * 100, limit=10)
    'xxxxxxxxx\u2026'
    """
    text = str(value)
    clipped = text if len(text) <= limit else text[: limit - 1] + "\u2026"
    return _LONE.sub(_spell, _INVISIBLE.sub(_spell, clipped))


def script_json(data: Any) -> Markup:
    r"""Return JSON that can stand inside a ``<script type="application/json">`` block.

    Every ``<``, ``>`` and ``&`` becomes a JSON escape, so no text in the data can end the block
    or begin another.

    >>> str(script_json("</script>"))
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _spell(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
