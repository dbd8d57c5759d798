"""A reference that its copy does not have yet is waited for, a moment."""

from services.chassis.references import patiently


async def test_what_is_there_is_found_at_the_first_look():
    looks = 0

    async def look() -> str | None:
        nonlocal looks
        looks += 1
        return "customer"

    assert await patiently(look) == "customer"
    assert looks == 1


async def test_what_comes_a_moment_later_is_found():
    answers = iter([None, None, "customer"])

    async def look() -> str | None:
        return next(answers)

    assert await patiently(look) == "customer"


async def test_what_never_comes_is_missing():
    async def look() -> str | None:
        return None

    assert await patiently(look) is None
