"""The " (did you mean X?)" that Docker adds to a misspelt word."""

from collections.abc import Iterable

# More changes than this and the word is probably a different one.
_FARTHEST = 2


def suggestion(word: str, options: Iterable[str], fold_case: bool = False) -> str:
    """Empty if nothing is near, or if the word itself is right. With `fold_case` the answer has the word's case."""
    wanted = word.lower() if fold_case else word
    best, nearest = "", _FARTHEST + 1
    for option in options:
        candidate = option.lower() if fold_case else option
        if candidate == wanted:
            return ""
        if abs(len(candidate) - len(wanted)) < nearest and (found := _distance(wanted, candidate)) < nearest:
            best, nearest = candidate, found
    if not best:
        return ""
    if fold_case and word == word.upper() and word != word.lower():
        best = best.upper()
    return f" (did you mean {best}?)"


def _distance(left: str, right: str) -> int:
    """Levenshtein's; the caller has seen that the lengths are near, so both are short or the answer is large."""
    row = list(range(len(right) + 1))
    for number, character in enumerate(left, 1):
        diagonal, row[0] = row[0], number
        for column, other in enumerate(right, 1):
            diagonal, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, diagonal + (character != other)),
            )
    return row[-1]
