"""Text: corpora, tokenizer, and sentences as tensors."""
