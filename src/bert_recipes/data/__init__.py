"""From files, the package index, the Hub or Python to checked, tokenized splits."""
