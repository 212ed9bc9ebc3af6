"""The adapter to fairseq2 0.8: an extension, a training recipe and decoding."""
