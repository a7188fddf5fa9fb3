"""How good the pictures are: measures of quality, one module each."""
