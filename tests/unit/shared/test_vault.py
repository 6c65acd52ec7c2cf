"""Secrets at rest: sealed, opened, and refused when they are somebody else's."""

import pytest
from pydantic import SecretStr

from shared.security.vault import SealBroken, Vault

KEY = "k" * 32


def test_what_is_sealed_is_opened_by_the_same_key() -> None:
    assert Vault(SecretStr(KEY)).open(Vault(SecretStr(KEY)).seal("sk-ünïcode")) == "sk-ünïcode"


def test_a_sealed_secret_does_not_show_and_is_never_the_same_twice() -> None:
    sealed = {Vault(SecretStr(KEY)).seal("sk-secret") for _ in range(3)}

    assert len(sealed) == 3
    assert not any("secret" in each for each in sealed)


FOREIGN = {
    "nothing": "",
    "rubbish": "rubbish",
    "another key's": Vault(SecretStr(KEY[:-1] + "x")).seal("sk"),
    "damaged": Vault(SecretStr(KEY)).seal("sk")[:-4] + "xxx=",
}


@pytest.mark.parametrize("sealed", FOREIGN.values(), ids=FOREIGN)
def test_what_was_sealed_otherwise_is_not_opened(sealed: str) -> None:
    with pytest.raises(SealBroken):
        Vault(SecretStr(KEY)).open(sealed)
