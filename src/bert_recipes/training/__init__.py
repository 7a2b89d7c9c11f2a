"""The trainers, whose steps are the same however they are cut, and what they need."""
