"""What Tollgate says about itself: logs and metrics."""
