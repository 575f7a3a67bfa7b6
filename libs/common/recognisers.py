"""Personal data in free text: patterns, and checksums where a kind has one. Pure.

A recogniser finds where something may begin, and says of how many characters it is, if it is one. What has a checksum
or an unmistakable form is found anywhere; bare digits only behind a word that says what they are. Names, addresses and
whatever else has no form are not found.

Presidio's recognisers are of the same kind, but importing them imports spaCy, some hundred megabytes that match no
pattern.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address

Length = Callable[[str], int]
"""Of a candidate: how many of its characters are it, from the first one on; 0: none."""

BEFORE = 40
"""Characters before a candidate in which its word is looked for."""


@dataclass(frozen=True)
class Recogniser:
    """`start`: a pattern whose group 1 is a candidate, as long as it could be; it may overlap the next one."""

    kind: str
    start: re.Pattern[str]
    length: Length
    word: re.Pattern[str] | None = None
    """What has to stand before it."""
    needs: str = ""
    """Without which there is none."""
    dense: bool = True
    """Whether six of its digits stand close together."""

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        if self.needs not in text or (self.word is not None and self.word.search(text) is None):
            return
        for found in self.start.finditer(text):
            begin = found.start(1)
            if self.word is not None and not self.word.search(text, max(0, begin - BEFORE), begin):
                continue
            length = self.length(found[1])
            if length:
                yield begin, begin + length


_ANY = re.compile(r"[0-9@]|::|<<")
"""Whatever there is to find has one of these in it."""
_DENSE = re.compile(r"[0-9](?:[ \u00a0./()-]{0,3}[0-9]){5}")


def findings(text: str) -> list[tuple[int, int, str]]:
    """(from, to, kind) of what is found, in its order; of two that overlap the one whose recogniser comes first."""
    if _ANY.search(text) is None:
        return []
    taken: list[tuple[int, int, str]] = []
    dense = _DENSE.search(text) is not None
    for each in RECOGNISERS if dense else _SPARSE:
        for begin, end in each.spans(text):
            place = bisect_right(taken, (begin,))
            after = place == len(taken) or end <= taken[place][0]
            if after and (place == 0 or taken[place - 1][1] <= begin):
                taken.insert(place, (begin, end, each.kind))
    return taken


def redacted(text: str) -> str:
    """The text with `<kind>` in the place of what is found."""
    found = findings(text)
    if not found:
        return text
    parts, last = [], 0
    for begin, end, kind in found:
        parts += [text[last:begin], f"<{kind}>"]
        last = end
    return "".join([*parts, text[last:]])


# --- checks --------------------------------------------------------------------------------------------------


def _whole(check: Callable[[str], bool]) -> Length:
    """Of a candidate that is it as a whole, or not at all."""
    return lambda text: len(text) if check(text) else 0


def _digits(text: str) -> list[int]:
    return [int(each) for each in text if each.isdigit()]


def _weighted(digits: list[int], *weights: int) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


_DOUBLED = [sum(divmod(2 * each, 10)) for each in range(10)]


def luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1, annex B."""
    return (sum(digits[-1::-2]) + sum([_DOUBLED[each] for each in digits[-2::-2]])) % 10 == 0


def mod97(text: str) -> int:
    """ISO/IEC 7064, MOD 97-10, of letters and digits."""
    return int("".join(str(int(each, 36)) for each in text)) % 97


_IBAN_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries.split()}
"""Country → characters of its IBANs (SWIFT, IBAN Registry, release 99)."""


def _iban(text: str) -> int:
    """ISO 13616: as many characters as the country has, whatever comes behind."""
    wanted, plain = _IBAN.get(text[:2].upper(), 0), ""
    for place, each in enumerate(text if wanted else ""):
        if each.isalnum():
            plain += each.upper()
        if len(plain) == wanted:
            goes_on = text[place + 1 : place + 2].isalnum()
            return 0 if goes_on or mod97(plain[4:] + plain[:4]) != 1 else place + 1
    return 0


_CARD = re.compile(
    r"(?:4\d{12}(?:\d{3})?(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14})"
)
"""Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay."""


def _card(text: str) -> int:
    """The longest beginning that is the number of a card, with no digit behind it."""
    places = [place for place, each in enumerate(text) if each.isdigit()]
    plain = "".join(text[place] for place in places)
    for count in (19, 16, 15, 14, 13):
        if count <= len(plain) and _CARD.fullmatch(plain, 0, count):
            end = places[count - 1] + 1
            if not text[end : end + 1].isdigit() and luhn(_digits(plain[:count])):
                return end
    return 0


def _ip(text: str) -> bool:
    """Of somebody: not this machine's, nobody's, or everybody's."""
    try:
        found = ip_address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_multicast or text == "255.255.255.255")


def _mrz(text: str) -> bool:
    """The second line of a passport's machine-readable zone (ICAO 9303-4), by its check digits."""

    def holds(part: str, digit: str) -> bool:
        values = [0 if each == "<" else int(each, 36) for each in part]
        total = sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values))
        return digit == "<" or int(digit) == total % 10

    return holds(text[:9], text[9]) and holds(text[13:19], text[19]) and holds(text[21:27], text[27])


def _day(digits: list[int], *order: int) -> bool:
    """Whether the digits at `order` (year, month, day; two each) may be a day."""
    year, month, day = (10 * digits[place] + digits[place + 1] for place in order)
    try:
        date(2000 + year, month, day)
    except ValueError:
        return False
    return True


def _dni(text: str) -> bool:
    """Spain, DNI and NIE: a letter by the remainder of 23."""
    plain = text.upper().replace("-", "")
    number = {"X": "0", "Y": "1", "Z": "2"}.get(plain[0], plain[0]) + plain[1:-1]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10,
    22, 25, 24, 23,
), strict=True))  # fmt: skip


def _codice(text: str) -> bool:
    """Italy, codice fiscale."""
    plain = text.upper()
    total = sum(
        _ODD[each] if place % 2 == 0 else (int(each, 36) - 10 if each.isalpha() else int(each))
        for place, each in enumerate(plain[:15])
    )
    return chr(ord("A") + total % 26) == plain[15]


def _nir(text: str) -> bool:
    """France: sex, year, month, place, order, key of 97."""
    plain = re.sub(r"[^0-9AB]", "", text.upper())
    number = int(plain[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(plain[13:])


def _steuer(text: str) -> bool:
    """Germany, Steuer-ID (ISO/IEC 7064, MOD 11,10): of its first ten digits one comes twice or three times."""
    digits, product = _digits(text), 10
    for each in digits[:10]:
        product = ((each + product) % 10 or 10) * 2 % 11
    most = Counter(digits[:10]).most_common(2)
    return (11 - product) % 10 == digits[10] and 2 <= most[0][1] <= 3 and most[1][1] == 1


def _bsn(text: str) -> bool:
    """The Netherlands: the test of eleven."""
    return _weighted(_digits(text), 9, 8, 7, 6, 5, 4, 3, 2, -1) % 11 == 0


def _nhs(text: str) -> bool:
    digits = _digits(text)
    return (11 - _weighted(digits[:9], 10, 9, 8, 7, 6, 5, 4, 3, 2) % 11) % 11 == digits[9]


def _pesel(text: str) -> bool:
    digits = _digits(text)
    return (10 - _weighted(digits[:10], 1, 3, 7, 9, 1, 3, 7, 9, 1, 3) % 10) % 10 == digits[10]


def _personnummer(text: str) -> bool:
    digits = _digits(text)
    return _day(digits, 0, 2, 4) and luhn(digits)


def _hetu(text: str) -> bool:
    """Finland: a letter by the remainder of 31."""
    digits = _digits(text[:6])
    return (
        _day(digits, 4, 2, 0)
        and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31] == text[10]
    )


def _rijksregister(text: str) -> bool:
    """Belgium: before and after the year 2000."""
    plain = "".join(map(str, _digits(text)))
    return any(97 - int(century + plain[:9]) % 97 == int(plain[9:]) for century in ("", "2"))


def _cpf(text: str) -> bool:
    """Brazil: two check digits."""
    digits = _digits(text)
    first = _weighted(digits[:9], *range(10, 1, -1)) * 10 % 11 % 10
    second = _weighted(digits[:10], *range(11, 1, -1)) * 10 % 11 % 10
    return [first, second] == digits[9:] and len(set(digits)) > 1


def _starting(pattern: str, *, ends: bool = True) -> re.Pattern[str]:
    """A candidate that no letter or digit stands before; if it `ends` so, none behind it either."""
    return re.compile(rf"(?<![A-Za-z0-9])(?=({pattern}){'(?![A-Za-z0-9])' if ends else ''})", re.ASCII)


def _word(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z])(?:{words})", re.IGNORECASE)


_SEP = "[ \\u00a0./-]"
_PHONE = _word("tel|phone|fon|mobil|cell|call|fax|handy|whatsapp|sms|ruf")
_DATE = re.compile(r"\d\d[./ -]\d\d[./ -]\d{4}(?!\d)")


def _national(text: str) -> int:
    """A number as it is dialled within a country, and no date."""
    return 0 if _DATE.match(text) else len(text)


RECOGNISERS = (
    Recogniser(
        "email",
        re.compile(r"([\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:\w(?:[\w-]{0,61}\w)?\.){1,10}[^\W\d_]{2,63})"),
        len,
        needs="@",
        dense=False,
    ),
    Recogniser("iban", _starting(r"[A-Za-z]{2}\d\d(?:[ \u00a0-]?[A-Za-z0-9]){10,30}", ends=False), _iban),
    Recogniser(
        "mrz",
        _starting(r"[A-Z0-9<]{9}\d[A-Z<]{3}\d{6}\d[MFX<]\d{6}\d[A-Z0-9<]{14}[\d<]\d"),
        _whole(_mrz),
        needs="<",
        dense=False,
    ),
    Recogniser("mrz", _starting(r"P[A-Z<][A-Z]{3}(?=[A-Z]+<<)[A-Z<]{39}"), len, needs="<<", dense=False),
    Recogniser(
        "national_id",
        _starting(r"[A-Za-z]{6}\d\d[A-Za-z]\d\d[A-Za-z]\d{3}[A-Za-z]"),
        _whole(_codice),
        dense=False,
    ),
    Recogniser(
        "national_id",
        _starting(r"[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-4]\d) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d"),
        _whole(_nir),
    ),
    Recogniser("card", _starting(rf"[2-6]\d{{2,18}}(?:{_SEP}\d{{3,16}}){{0,5}}", ends=False), _card),
    Recogniser(
        "national_id", _starting(r"(?:\d{8}|[XYZxyz]-?\d{7})-?[A-HJ-NP-TV-Za-hj-np-tv-z]"), _whole(_dni)
    ),
    Recogniser("national_id", _starting(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]"), _whole(_hetu)),
    Recogniser("national_id", _starting(r"\d{6}[-+]\d{4}"), _whole(_personnummer)),
    Recogniser(
        "national_id", _starting(r"\d\d\.\d\d\.\d\d-\d{3}[.-]\d\d"), _whole(_rijksregister), needs="."
    ),
    Recogniser("national_id", _starting(r"\d{3}\.\d{3}\.\d{3}-\d\d"), _whole(_cpf), needs="."),
    Recogniser("national_id", _starting(r"(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}"), len, needs="-"),
    Recogniser(
        "national_id", _starting(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"), _whole(_steuer), _word("steuer|tin|idnr|tax")
    ),
    Recogniser("national_id", _starting(r"\d{9}"), _whole(_bsn), _word("bsn|burgerservice|sofi")),
    Recogniser("national_id", _starting(r"\d{3}[ -]?\d{3}[ -]?\d{4}"), _whole(_nhs), _word("nhs")),
    Recogniser("national_id", _starting(r"\d{11}"), _whole(_pesel), _word("pesel")),
    Recogniser(
        "national_id",
        _starting(r"[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z]{2} ?\d\d ?\d\d ?\d\d ?[A-Da-d]"),
        len,
        _word("national insurance|nino|ni n"),
    ),
    Recogniser(
        "ip",
        re.compile(r"(?<![\w.:])(?<![A-Za-z]/)(?=((?:\d{1,3}\.){3}\d{1,3})(?![\w.]*\d))", re.ASCII),
        _whole(_ip),
        needs=".",
        dense=False,
    ),
    Recogniser(
        "ip",
        re.compile(r"(?<![\w:])(?=((?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4})(?![\w:]))"),
        _whole(_ip),
        needs=":",
        dense=False,
    ),
    Recogniser(
        "phone",
        re.compile(rf"(?<![\w+])(?=(\+[1-9](?:[()]|{_SEP}){{0,2}}\d(?:(?:[()]|{_SEP}){{0,3}}\d){{5,13}}))"),
        len,
        needs="+",
    ),
    Recogniser(
        "phone",
        re.compile(r"(?<![\w+-])(?=((?:\([2-9]\d\d\) ?|[2-9]\d\d[.-])[2-9]\d\d[.-]\d{4})(?![\w-]))"),
        len,
    ),
    Recogniser(
        "phone",
        re.compile(rf"(?<![\w+-])(?=(\(?0\d(?:(?:[()]|{_SEP}){{0,2}}\d){{5,13}})(?!\w))"),
        _national,
        _PHONE,
    ),
)
"""The surest first."""
_SPARSE = tuple(each for each in RECOGNISERS if not each.dense)
