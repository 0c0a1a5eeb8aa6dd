"""The gate for released schemas: every change is named by a rule, and one that breaks readers is refused."""
