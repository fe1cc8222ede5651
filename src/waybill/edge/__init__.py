"""The edge: who may call and by what way. Tokens, accounts, the gateway."""
