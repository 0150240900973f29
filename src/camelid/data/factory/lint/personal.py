"""Personal data and secrets: numbers by their check digits where they have some. What is shown is masked."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from datetime import date

from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.sample import Turn
from camelid.data.readers.rows import excerpt


def masked(value: str) -> str:
    """The first and last characters of a value: enough to find it, too little to spread it."""
    shown = 4 if len(value) > 12 else 2
    return excerpt(value[:shown] + "*" * min(8, max(3, len(value) - 2 * shown)) + value[-shown:])


def _half_width(turn: Turn) -> str:
    return turn.text if turn.ascii else unicodedata.normalize("NFKC", turn.text)


# -- Chinese identity numbers: GB 11643-1999 ---------------------------------------------------------------------------

_PROVINCES = frozenset(
    (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83)
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_IDENTITY = re.compile(r"(?<![\dA-Za-z.])\d{6}[ -]?(?:18|19|20)\d{6}[ -]?\d{3}[\dXx](?![\dA-Za-z])")


def is_identity_number(value: str) -> bool:
    """Whether 18 characters are a Chinese identity number: province, date of birth, check digit (ISO 7064 MOD 11-2)."""
    if len(value) != 18 or not value[:17].isascii() or not value[:17].isdigit() or int(value[:2]) not in _PROVINCES:
        return False
    try:
        date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        return False
    return value[6:8] in ("18", "19", "20") and identity_check_digit(value[:17]) == value[17].upper()


def identity_check_digit(digits: str) -> str:
    """Of the first 17 digits: 0 to 9, or X for 10."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    return "10X98765432"[total % 11]


def identity_number(turn: Turn) -> str | None:
    """A Chinese identity number whose check digit is right."""
    if not turn.digits:
        return None
    for match in _IDENTITY.finditer(_half_width(turn)):
        if is_identity_number(re.sub("[ -]", "", match[0])):
            return masked(match[0])
    return None


# -- bank cards: ISO/IEC 7812, Luhn; accounts: ISO 13616 ---------------------------------------------------------------

_CARD = re.compile(r"(?<![\d.,A-Za-z/_-])\d(?:[ -]?\d){14,18}(?![\d.]?\d|[A-Za-z_])")
# First digits and lengths: UnionPay, Visa, Mastercard, American Express, Discover, JCB, and older Chinese ones.
_ISSUERS = (
    (re.compile("62"), range(16, 20)),
    (re.compile("4"), (16,)),
    (re.compile("5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), (16,)),
    (re.compile("3[47]"), (15,)),
    (re.compile("6011|64[4-9]|65"), (16,)),
    (re.compile("35(?:2[89]|[3-8])"), (16,)),
    (re.compile("955[89]"), (16, 19)),
)
_GROUPED = re.compile(
    r"\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5}|\d{6}([ -])\d{7,13}|\d+"
)
_CALCULATED = re.compile(r"[=+*×÷/^<>]\s*$")
_IBAN = re.compile(r"(?<![A-Za-z\d])[A-Z]{2}\d{2} ?(?:[A-Z\d]{4} ?){2,7}[A-Z\d]{1,4}(?![A-Za-z\d])")


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether digits are a payment card's: issuer, its length, check digit."""
    known = any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)
    return known and luhn(digits) and digits != digits[:4] * 4  # 4242 4242 4242 4242 is everybody's


def is_account_number(value: str) -> bool:
    """Whether it is an IBAN: modulo 97."""
    if not 15 <= len(value) <= 34:
        return False
    moved = value[4:] + value[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def card_number(turn: Turn) -> str | None:
    """A payment card's number, or an international account number, whose check digits are right."""
    if not turn.digits:
        return None
    text = _half_width(turn)
    for match in _CARD.finditer(text):
        digits = re.sub("[ -]", "", match[0])
        if not _GROUPED.fullmatch(match[0]) or not is_card_number(digits) or is_identity_number(digits):
            continue
        if not _CALCULATED.search(text[max(0, match.start() - 4) : match.start()]):
            return masked(match[0])
    for match in _IBAN.finditer(text):
        if is_account_number(match[0].replace(" ", "")):
            return masked(match[0])
    return None


# -- telephones --------------------------------------------------------------------------------------------------------

_BEFORE, _AFTER = r"(?<![\d.,/_=\-A-Za-z])", r"(?![\d.]?\d|[A-Za-z_\-]\d)"
_MOBILE_CN = re.compile(_BEFORE + r"(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:\d{8}|[ -]\d{4}[ -]\d{4})" + _AFTER)
_LANDLINE_CN = re.compile(
    _BEFORE
    + r"(?:(?:\+|00)86[ -]?\(?0?|[(（]?0)(?:10|2\d|[3-9]\d{2})[)）]?[ -]?[2-8]\d{3}[ -]?\d{3,4}(?![\d.]?\d|-\d{2}\b)"
)
_NORTH_AMERICA = re.compile(
    _BEFORE + r"(?:\+?1[ .-]?)?(?:\(([2-9]\d{2})\) ?|([2-9]\d{2})[-. ])(\d{3})[-. ](\d{4})" + _AFTER
)
_INTERNATIONAL = re.compile(
    r"(?<![\d.,/_=A-Za-z+])(?:\+|\b00)(?!86|1[ .-]?[(2-9])[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,6}(?!\d|\.\d)"
)


def mobile_number(turn: Turn) -> str | None:
    """A number of a Chinese mobile telephone."""
    if not turn.digits:
        return None
    for match in _MOBILE_CN.finditer(_half_width(turn)):
        if len(set(re.sub(r"\D", "", match[0])[-8:])) > 1:
            return masked(match[0])
    return None


def landline_number(turn: Turn) -> str | None:
    """A number of a Chinese fixed line, mostly a company's."""
    match = _LANDLINE_CN.search(_half_width(turn)) if turn.digits else None
    return masked(match[0]) if match else None


def foreign_number(turn: Turn) -> str | None:
    """A telephone number of North America, or of another country with its code: a made-up one, too."""
    if not turn.digits:
        return None
    text = _half_width(turn)
    for match in _NORTH_AMERICA.finditer(text):
        if not _is_made_up("".join(match[group] or "" for group in (1, 2, 3, 4))):
            return masked(match[0])
    for match in _INTERNATIONAL.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if 9 <= len(digits) <= 15 and not _is_made_up(digits):
            return masked(match[0].strip())
    return None


def _is_made_up(digits: str) -> bool:
    """Whether digits are hardly different, or count up behind the code of the country."""
    return len(set(digits)) <= 2 or digits[-9:] in "012345678901234567890"


# -- addresses ---------------------------------------------------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![\w.+%-])([\w.+%-]{2,64})@((?:[A-Za-z\d](?:[A-Za-z\d-]{0,61}[A-Za-z\d])?\.)+[A-Za-z]{2,18})(?![\w@])",
    re.ASCII,
)
# Of an office, or in the place of a name; a made-up person cannot be told from a real one.
_NO_PERSON = either(
    r"(?:your|my|some|any|first|last)[._-]?\w*|user(?:name)?\d*|name|e?mail|test\w*|example|sample|recipient|sender",
    r"no-?reply|do-?not-?reply|info|contact\w*|support|help(?:desk)?|sales|services?|customer\w*|office|admin\w*"
    r"|webmaster",
    r"hr|jobs|careers|press|media|team|hello|feedback|marketing|news(?:letter)?|billing|orders?|abuse|security|root",
    r"postmaster|git|company|reservations?|booking\w*|[ei]nquir\w*|events?|offers?|promo\w*|registration|submissions?",
    r"editor|alerts?|xxx\w*|\.+",
)
_NO_MAIL = (".png", ".jpg", ".test", ".invalid", ".local")


def email_address(turn: Turn) -> str | None:
    """An address of somebody, not of an office."""
    if "@" not in turn.text:
        return None
    for match in _EMAIL.finditer(_half_width(turn)):
        if not _NO_PERSON.fullmatch(match[1]) and not match[2].endswith(_NO_MAIL):
            return masked(match[0])
    return None


_IP = re.compile(r"(?<![\d.\w/-])(?:\d{1,3}\.){3}\d{1,3}(?![\d\w]|\.\d)")
_WELL_KNOWN = frozenset(
    (
        *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "1.2.3.4", "4.4.4.4"),
        *("114.114.114.114", "223.5.5.5", "223.6.6.6"),
    )
)
_FIRST_HOST = 11  # below it stand versions and chapters: 2.1.3.4


def ip_address(turn: Turn) -> str | None:
    """An address of the public internet, other than those that everybody knows."""
    if not turn.digits or turn.text.count(".") < 3:
        return None
    for match in _IP.finditer(turn.text):
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            continue
        known = match[0] in _WELL_KNOWN or match[0].endswith(".0") or int(match[0].split(".")[0]) < _FIRST_HOST
        if address.is_global and not known:
            return masked(match[0])
    return None


_SSN = re.compile(r"(?<![\d.-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-]|\.\d)")


_SSN_SAID = either(r"\bssn\b|social|security|\bid\b|\btax|number|社会安全|社会保障|社保")


def social_security_number(turn: Turn) -> str | None:
    """A number of the form that the United States give out."""
    match = _SSN.search(turn.text) if turn.digits and "-" in turn.text else None
    return masked(match[0]) if match and _SSN_SAID.search(turn.text) else None


# -- secrets -----------------------------------------------------------------------------------------------------------

_SECRET = re.compile(
    "|".join(
        (
            r"\bsk-(?:proj-|ant-|or-|svcacct-)?[A-Za-z0-9_-]{20,}|\b(?:sk|rk|pk)_live_[A-Za-z0-9]{16,}",
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bLTAI[A-Za-z0-9]{12,26}\b|\bAKID[A-Za-z0-9]{28,36}\b|\bAIza[\w-]{35}",
            r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bnpm_[A-Za-z0-9]{36}",
            r"\bxox[abprs]-[A-Za-z0-9-]{12,}|\bhf_[A-Za-z0-9]{30,}|\bSG\.[\w-]{20,}\.[\w-]{20,}",
            r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
            r"\b[a-z]+://[^\s:/@]{2,40}:[^\s:/@]{4,60}@[\w.-]+",
        )
    )
)
_NOT_MEANT = either(r"x{5,}|\*{3,}|\.\.\.|user(?:name)?:pass(?:word)?@|your|<|\$|\{")
_SIGNS = (
    *("sk-", "_live_", "AKIA", "ASIA", "AKID", "LTAI", "AIza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    *("glpat-", "npm_", "xox", "hf_", "SG.", "-----BEGIN", "eyJ", "://"),
)


def secret(turn: Turn) -> str | None:
    """A key or a password that opens something."""
    if not any(sign in turn.text for sign in _SIGNS):
        return None
    return next((masked(value) for value in _secrets(turn.text) if not _NOT_MEANT.search(value)), None)


def _secrets(text: str) -> Iterator[str]:
    for match in _SECRET.finditer(text):
        yield match[0]
