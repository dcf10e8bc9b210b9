"""Diffusion and masking of the tokens themselves: the network that writes all tokens at once, noise, decoding."""
