"""What a run shows for itself: measured scores and pictures of them."""
