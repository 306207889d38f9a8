"""One file per paper algorithm; each is a value with `init`, `broadcast` and `apply`."""
