"""What is varied: factors, arms, studies, one run and its record."""
