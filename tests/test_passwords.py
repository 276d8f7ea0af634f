import pytest

from gis_grid.errors import InvalidInput
from gis_grid.passwords import checked_password, new_password
from tests.builders import CHEAP_PASSWORDS, PASSWORD


@pytest.mark.parametrize(
    "password", ["", "elevenchars", "x" * 201, "twelve\0chars", "twelve\ud800chars", "twelve\nchars"]
)
def test_what_can_be_no_password_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput, match="password: "):
        CHEAP_PASSWORDS.hash(password)


@pytest.mark.parametrize("password", ["twelve chars", "正确的马电池订书钉一二三", "x" * 200])
def test_any_text_of_twelve_to_two_hundred_characters_is_one(password: str) -> None:
    stored = CHEAP_PASSWORDS.hash(password)

    assert CHEAP_PASSWORDS.fits(password, stored)
    assert password not in stored


def test_a_password_fits_however_its_letters_are_composed() -> None:
    stored = CHEAP_PASSWORDS.hash("ｃafé-composed")

    assert CHEAP_PASSWORDS.fits("cafe\u0301-composed", stored)


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", "\ud800", "x" * 100_000])
def test_another_password_does_not_fit(password: str) -> None:
    assert not CHEAP_PASSWORDS.fits(password, CHEAP_PASSWORDS.hash(PASSWORD))


def test_nothing_fits_where_there_is_no_account_or_a_broken_hash() -> None:
    assert not CHEAP_PASSWORDS.fits(PASSWORD, None)
    assert not CHEAP_PASSWORDS.fits(PASSWORD, "argon2?")


def test_a_made_password_can_be_one_and_is_never_the_same() -> None:
    made = {new_password() for _ in range(100)}

    assert len(made) == 100
    assert {checked_password(password) for password in made} == made
