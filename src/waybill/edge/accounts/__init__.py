"""The accounts service: who somebody is, and the tokens that say so."""
