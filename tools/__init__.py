"""What builds and checks the tutorial; not part of the package that learners install."""
