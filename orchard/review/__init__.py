"""What people say of a model's answers: photos with the label that they should have, which wait for somebody's review."""
