"""What measures the project itself: speed, exactness, what each choice is worth, and what many rows take.

Each is run from the project's root, as in `python -m benchmarks.bench`; none of it is installed. The figures stand in
docs/, between the marks of the command that gives them.
"""
