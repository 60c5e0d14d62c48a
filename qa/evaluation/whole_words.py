"""An answer that begins or ends inside a word or a number → the same with the whole of it."""

import regex

from qa.evaluation.answers import NBestAnswer

LONGEST = 100  # characters that are added at one end; what is longer, such as an address of the web, stays cut
# Unicode's word borders (UAX 29): marks, digits with their commas, and letters around an apostrophe stay together, and
# each letter of a script without spaces is a word. More borders are where a right answer may end:
BORDER = regex.compile(
    r"""\b
    | (?<=\p{L}\p{M}*)(?=[.:]) | (?<=[.:])(?=\p{L})  # where a space is missing: Arlbury.Her
    | (?=['’]s\b)  # Anna's, but not don't
    | (?<=\b(?:\p{Ll}+['’]|و))(?=[\p{L}\p{N}]{3})  # l'école, but not O'Brien; Arabic's "and"
    | (?<=\p{Hangul})(?=\p{Hangul})  # Korean's particles""",
    regex.WORD | regex.VERBOSE,
)


def with_whole_words(answer: NBestAnswer, context: str) -> NBestAnswer:
    """The answer, widened: "441" of "Call 4417." becomes "4417". For texts of any script, and any tokenizer."""
    before = range(answer.start, answer.start - LONGEST, -1)
    after = range(answer.end, answer.end + LONGEST)
    start = next((place for place in before if BORDER.match(context, place)), answer.start)
    end = next((place for place in after if BORDER.match(context, place)), answer.end)
    text = context[start:end].strip()  # a mark behind a blank makes one word with it
    start = context.index(text, start)
    return answer._replace(text=text, start=start, end=start + len(text))
