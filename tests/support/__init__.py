"""What several rooms' tests share; fixtures are in the conftest.py files."""
