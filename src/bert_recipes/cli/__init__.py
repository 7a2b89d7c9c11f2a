"""What scripts share on their command line."""
