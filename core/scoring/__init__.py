"""How texts are compared: scripts and words, BLEU's tokenizers, sentence BLEU and the choice by it, ROUGE."""
