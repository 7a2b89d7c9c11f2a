"""The tour of `recipes/anatomy.py`: what the stock and the plain model return, checked on the installed versions.

It is a folder because a station has three parts that are best read apart: what runs (`inside`, `answers`, `beyond`,
`traps`), what is said about it (`en.yaml`, `ko.yaml`), and how it is drawn (`terminal`, `markdown`, `page`).
"""

LANGUAGES = ("en", "ko")
