"""Texts of the tiny vocabulary, and rows of them in a CSV file."""

import csv

WORDS = ["fire", "flood", "storm", "smoke", "rescue", "lovely", "sunny", "party", "cake", "music", "a", "in", "of"]


def sentence(i):
    return " ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(3 + i % 9))


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
