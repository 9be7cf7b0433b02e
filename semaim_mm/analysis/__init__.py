"""Why an order helps: what a pretrained model predicts first, and what it makes of it."""
