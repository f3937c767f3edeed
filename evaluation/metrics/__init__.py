"""Pass@K, majority votes, intervals and paired tests."""
