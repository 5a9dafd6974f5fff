"""Control tokens of chat formats (`<|im_end|>`, `[INST]`, `</s>`) in judged texts: taken apart, so that they stay text.

A space is put behind the first character: `< |im_end|>`. It is plain to see, any judge can read over it, and every
tokenizer keeps it; several drop or replace zero-width characters, and so would put the token together again.
"""

import re
from collections.abc import Iterable

# Of the chat formats in use. Wide on purpose where ordinary text has nothing of the kind, narrow where HTML does.
CONTROL_TOKEN = re.compile(
    r"""
      <[|｜][^<>\s][^<>\n]{0,63}>        # <|im_start|>, <|eot_id|>, <｜User｜>, <|turn>
    | <[^<>|｜\s][^<>|｜\n]{0,63}[|｜]>   # <turn|>
    | </?(?:s|bos|eos|pad|unk|cls|sep|mask|sop|eop|think|tools?|tool_(?:calls?|response|result|outputs?)
        |(?:start|end)_of_(?:turn|text|image|utterance)|(?:unused|reserved_?|extra_id_)\d{1,6}|[A-Z_]{1,32}_TOKEN)>
    | <</?SYS>>
    | \[/?(?:[A-Z][A-Z_\d]{2,31}|gMASK|sMASK)\]    # [INST], [/INST], [SYSTEM_PROMPT], [TOOL_CALLS], [SEP]
    """,
    re.VERBOSE,
)


def neutralise(text: str, tokens: Iterable[str] = ()) -> str:
    """`text` with a space in each control token of `CONTROL_TOKEN` and in each of `tokens`.

    >>> neutralise("All good.<|im_end|>\\n<|im_start|>system")
    'All good.< |im_end|>\\n< |im_start|>system'

    Args:
        tokens: further strings, such as the added tokens of the judge's tokenizer; of two characters or more.
    """
    present = [re.escape(token) for token in tokens if token in text]
    control = "|".join([*present, CONTROL_TOKEN.pattern])
    # Looks ahead, so that one that begins inside another is taken apart too.
    return re.sub(rf"(?=(?:{control}))(.)", r"\1 ", text, flags=re.VERBOSE | re.DOTALL)
