"""What was found: run folders -> tables, statistics, figures. Reads files only, and knows no model."""
