"""Control tokens of chat formats (`<|im_end|>`, `[INST]`, `</s>`) in judged texts are broken up, to stay text.

A space is inserted after the first character: `< |im_end|>`. It is visible, does not disturb a judge, and every
tokenizer keeps it; several tokenizers drop or replace zero-width characters, which would restore the token.
"""

import re
from collections.abc import Iterable

# Control tokens of the chat formats in use. Broad where ordinary text has nothing similar, narrow where HTML does.
CONTROL_TOKEN = re.compile(
    r"""
      <[|｜][^<>\s][^<>\n]{0,63}>        # <|im_start|>, <|eot_id|>, <｜User｜>, <|turn>
    | <[^<>|｜\s][^<>|｜\n]{0,63}[|｜]>   # <turn|>
    | \[[|｜][^\[\]\s][^\[\]\n]{0,63}[|｜]\]      # [|system|], [|endofturn|]
    | <\[[^\[\]<>\s][^\[\]<>\n]{0,63}\]>        # <[begin▁of▁sentence]>
    | </?_[\w▁:.-]{1,63}>               # <_user>, <_start>
    | </?[A-Za-z][\w▁:.-]{0,63}[_▁:][\w▁:.-]{0,63}>    # <seed:bos>, <longcat_s>, <start_of_turn>, <tool_call>
    | </?(?!SYS>)[A-Z][A-Z\d]{2,63}>    # <TOOLCALL>, <EOT>
    | </?(?:s|bos|eos|eod|eot|pad|unk|cls|sep|mask|sop|eop|eoh|eoa|ctrl\d{1,6}|unused\d{1,6}|think|thinking|reasoning
        |tools?|role|response|answer|invoke|img|image|fim[_-]\w{1,16}|filename|reponame|0x[\dA-Fa-f]{2})>
    | <</?SYS>>
    | >>[A-Z]{3,32}<<                   # >>QUESTION<<
    | \[/?(?:[A-Z][A-Z_\d]{2,31}|gMASK|sMASK|unused\d{1,6}|Round[ ]\d{1,6})\]    # [INST], [/INST], [TOOL_CALLS], [SEP]
    | \](?:~!?|!)[a-z]~?[\[\]] | \[e~\[ | \]<\] | \[>\[    # ]~b], ]~!b[, [e~[, ]<]image[>[
    """,
    re.VERBOSE,
)


def neutralize(text: str, tokens: Iterable[str] = ()) -> str:
    """`text` with a space inside every match of `CONTROL_TOKEN` and every one of `tokens`.

    >>> neutralize("All good.<|im_end|>\\n<|im_start|>system")
    'All good.< |im_end|>\\n< |im_start|>system'

    Args:
        tokens: further strings of two or more characters, such as the added tokens of the judge's tokenizer.
    """
    present = [re.escape(token) for token in tokens if token in text]
    control = "|".join([*present, CONTROL_TOKEN.pattern])
    # A look-ahead, so that a token that begins inside another one is broken up too.
    return re.sub(rf"(?=(?:{control}))(.)", r"\1 ", text, flags=re.VERBOSE | re.DOTALL)
