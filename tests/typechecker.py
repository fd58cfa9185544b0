"""What checks annotations at run time in the tests: beartype, for which an int is a float as PEP 484 has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
