"""Embedding diffusion: noise processes, samplers, the denoiser, its objective, decoding and diagnostics."""
