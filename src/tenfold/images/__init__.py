"""From any picture of digits to the 28 × 28 pixels that MNIST would have made of each."""
