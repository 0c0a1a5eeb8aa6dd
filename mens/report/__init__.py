"""Documents made readable: findings, status, HTML."""
