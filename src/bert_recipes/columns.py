"""The names under which columns travel, from the reader to the predictions.

Their cells, ids among them, are checked in `data.loading`.
"""

ID, TEXT, TEXT_PAIR, LABELS, ROW = "id", "text", "text_pair", "labels", "row"
# Between the texts of several columns that are joined into one.
JOINT = " [SEP] "
# What tokenizing adds.
LENGTH, TRUNCATED = "length", "truncated"
# And of texts that are read in windows.
NUM_WINDOWS = "num_windows"
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# What each row of a micro-batch counts. No argument of a `forward` can be called so, nor a column that a model takes.
COUNT = "row's count"
# The fold, from 1, that a row was left out for in a run with --folds.
FOLD = "fold"
# A run has these itself: a column of the data's own with such a name is left out.
RESERVED = {ID, TEXT, TEXT_PAIR, LABELS, ROW, FOLD, LENGTH, TRUNCATED, NUM_WINDOWS, *MODEL_INPUTS}
# What the files of predictions add.
LABEL, PREDICTION, LOSS, PREDICTION_AT_THRESHOLD = "label", "prediction", "loss", "prediction_at_threshold"
