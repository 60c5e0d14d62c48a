"""The published recipe: mBERT on SQuAD v1.1. The values in `conf/` are the same: a test compares them."""

MODEL, DATA = "google-bert/bert-base-multilingual-cased", "rajpurkar/squad"
MAX_LENGTH, STRIDE = 384, 128  # tokens of a window, and those that consecutive windows share
BATCH_SIZE = 16  # windows of a step, and of a batch in an evaluation
N_BEST, MAX_ANSWER_LENGTH = 20, 30  # candidates for a question; tokens of the longest answer
RUN_SEED = 42
