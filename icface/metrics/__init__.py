"""How good a reenactment is, as plain functions on arrays: `pictures` compares pixels, `attributes` labels."""
