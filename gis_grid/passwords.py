"""Passwords: what may be one, and argon2 hashes of them."""

import secrets
import threading
import unicodedata
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gis_grid.errors import InvalidInput

MIN_CHARACTERS, MAX_CHARACTERS = 12, 200
AT_ONCE = 4  # each hash takes 19 MiB and a core
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is misread for another


class Passwords:
    """Hashes passwords with argon2id.

    Parameters
    ----------
    time_cost, memory_kib
        Work of one hash; the defaults are OWASP's least (Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane).
    """

    def __init__(self, *, time_cost: int = 2, memory_kib: int = 19_456) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def hash(self, password: str) -> str:
        """The hash to store.

        Raises
        ------
        InvalidInput
            Too short, too long, or with characters that cannot be typed.
        """
        checked = checked_password(password)
        with self._turns:
            return self._hasher.hash(checked)

    def fits(self, password: str, stored: str | None) -> bool:
        """Whether a password is the stored one; without a stored one the same work is done for nothing."""
        with self._turns:
            try:
                self._hasher.verify(stored or self._nobodys, _normalised(password))
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_hex())


def new_password() -> str:
    """A password of four groups of five letters and digits: 99 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def checked_password(password: str) -> str:
    """A password in the form that is hashed (NFKC), or `InvalidInput`."""
    if len(password) > MAX_CHARACTERS:
        raise InvalidInput(f"password: longer than {MAX_CHARACTERS} characters")
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in password):
        raise InvalidInput("password: holds a control character or half of a surrogate pair")
    normalised = _normalised(password)
    if len(normalised) < MIN_CHARACTERS:
        raise InvalidInput(f"password: shorter than {MIN_CHARACTERS} characters")
    return normalised


def _normalised(password: str) -> str:
    return unicodedata.normalize("NFKC", password[: MAX_CHARACTERS + 1])
