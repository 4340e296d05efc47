"""What the tests share: a fake for each port, and one rig a kind."""
