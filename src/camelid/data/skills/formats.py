"""Rewriting into a fixed form: dates, times, telephone numbers, units, numerals, a standard reply."""

from __future__ import annotations

import datetime

from camelid.data.skills.draw import Draw
from camelid.data.skills.extraction import WEEKDAYS
from camelid.data.skills.row import Family, Task

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
SMALL_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
UNITS = {  # (unit, smaller unit, how many of it)
    "zh": (("公里", "米", 1000), ("米", "厘米", 100), ("公斤", "克", 1000), ("升", "毫升", 1000), ("元", "角", 10)),
    "en": (("km", "m", 1000), ("m", "cm", 100), ("kg", "g", 1000), ("L", "mL", 1000), ("cm", "mm", 10)),
}


def _date(draw: Draw) -> Task:
    """A date in words -> 2024/3/5."""
    first, last = datetime.date(1990, 1, 1).toordinal(), datetime.date(2039, 12, 31).toordinal()
    date: datetime.date = draw.make(lambda: datetime.date.fromordinal(draw.chance.randint(first, last)), _slashes)
    words = draw.words(f"{date.year}年{date.month}月{date.day}日", f"{MONTHS[date.month - 1]} {date.day}, {date.year}")
    return Task(draw.phrase("date", date=words), _slashes(date))


def _slashes(date: datetime.date) -> str:
    return f"{date.year}/{date.month}/{date.day}"


def _phone(draw: Draw) -> Task:
    """Eight digits as 4-4: 79460958 -> 7946-0958, as in London, Beijing and Shanghai."""
    digits = draw.make(
        lambda: str(draw.chance.randint(2, 8)) + "".join(str(draw.chance.randint(0, 9)) for _ in range(7))
    )
    return Task(draw.phrase("phone", digits=digits), f"{digits[:4]}-{digits[4:]}")


def _units(draw: Draw) -> Task:
    """A whole number of a unit in a smaller one, the factor being stated."""
    unit, smaller, factor = draw.choose(*UNITS[draw.language])
    value = draw.make(lambda: draw.chance.randint(2, 99), lambda n: draw.words(f"{n}{unit}", f"{n} {unit}"))
    space = draw.words("", " ")
    fields = {"amount": f"{value}{space}{unit}", "from": unit, "unit": smaller, "factor": factor}
    equals = draw.words("=", " = ")
    answer = f"{value}{space}{unit}{equals}{value * factor}{space}{smaller}"
    return Task(draw.phrase("units", **fields), answer)


def _spell_zh(value: int) -> str:
    digits = "零一二三四五六七八九"
    tens, ones = divmod(value, 10)
    return ("" if tens < 2 else digits[tens]) + ("十" if tens else "") + (digits[ones] if ones or not tens else "")


def _spell_en(value: int) -> str:
    tens, ones = divmod(value, 10)
    if tens < 2:
        return SMALL_NUMBERS[value]
    return TENS[tens - 2] + (f"-{SMALL_NUMBERS[ones]}" if ones else "")


def _numerals(draw: Draw) -> Task:
    """Number words -> digits, 11 to 99."""
    value = draw.number(11, 99)
    return Task(draw.phrase("numerals", words=draw.words(_spell_zh, _spell_en)(value)), str(value))


def _reply(draw: Draw) -> Task:
    """A standard confirmation, filled in."""
    name, day, hour = draw.pick("name"), draw.choose(*WEEKDAYS[draw.language]), draw.chance.randint(1, 11)
    half = draw.choose(*draw.words(("上午", "下午"), ("am", "pm")))
    time = draw.words(f"{half}{hour}点", f"{hour} {half}")
    answer = draw.words(
        f"尊敬的{name}，您{day}{time}的预约已确认。", f"Dear {name}, your appointment on {day} at {time} is confirmed."
    )
    return Task(draw.phrase("reply", name=name, day=day, hour=time), answer)


FAMILIES = (
    Family("date", _date),
    Family("phone", _phone, share=0.8),
    Family("units", _units),
    Family("numerals", _numerals, share=1.2),
    Family("reply", _reply, share=0.7),
)
