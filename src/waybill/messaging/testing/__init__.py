"""For tests of users and of ourselves: contract suites of the ports, and a clock that obeys."""
