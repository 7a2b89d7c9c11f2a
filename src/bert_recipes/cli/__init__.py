"""What scripts share: how one ends, how one reads its flags, and the doctor."""
