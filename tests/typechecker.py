"""What checks the annotations of the package while the tests run."""

from beartype import BeartypeConf, beartype

# As PEP 484 has it and type checkers do: an int will do for a float.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
